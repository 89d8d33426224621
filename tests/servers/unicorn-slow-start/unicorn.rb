ENV['UNICORN_FD'] = ENV.fetch('SERVER_STARTER_PORT').split(';').map { |entry| entry[/\d+\z/] }.join(',')

worker_processes 4

before_fork do |server, worker|
  # This generation is in the status file only after --interval; failed ones never are.
  this = ENV.fetch('SERVER_STARTER_GENERATION').to_i
  status = File.join(ENV.fetch('SCRATCH'), 'status')
  running = File.exist?(status) ? File.readlines(status).map { |line| line.split(':').map(&:to_i) } : []
  running.each do |generation, master|
    next unless generation < this
    Process.kill(worker.nr + 1 < server.worker_processes ? :TTOU : :QUIT, master)
  rescue Errno::ESRCH
    # An earlier worker's QUIT was enough.
  end
  # The rest of the old workers carry the load until this one is warm.
  sleep 0.3
end
