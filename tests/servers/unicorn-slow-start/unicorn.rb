ENV['UNICORN_FD'] = ENV.fetch('SERVER_STARTER_PORT').split(';').map { |entry| entry[/\d+\z/] }.join(',')

worker_processes 4

# The status file as the Ruby port of start_server reads it: each line is one pair.
def running
  File.readlines(File.join(ENV.fetch('SCRATCH'), 'status'), chomp: true)
      .map { |line| line.split(':') }.to_h
      .map { |pair| pair.map { |field| Integer(field) } }
rescue Errno::ENOENT
  [] # This is the first generation.
rescue StandardError => error
  File.write(File.join(ENV.fetch('SCRATCH'), 'complaints'), "status file: #{error.message}\n", mode: 'a')
  raise
end

before_fork do |server, worker|
  # This generation enters the status file only after --interval, and a failed one never does.
  this = ENV.fetch('SERVER_STARTER_GENERATION').to_i
  running.each do |generation, master|
    next unless generation < this
    Process.kill(worker.nr + 1 < server.worker_processes ? :TTOU : :QUIT, master)
  rescue Errno::ESRCH
    # The QUIT of an earlier worker has ended the master.
  end
  # The other old workers serve the requests until this one is ready.
  sleep 0.3
end
