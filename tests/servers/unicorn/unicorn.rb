# unicorn reads this file before it looks for inherited sockets.
ENV['UNICORN_FD'] = ENV.fetch('SERVER_STARTER_PORT').split(';').map { |entry| entry[/\d+\z/] }.join(',')

worker_processes 4
