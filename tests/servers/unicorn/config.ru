run(lambda do |env|
  sleep 0.08 if env['PATH_INFO'] == '/slow'
  body = format("%-31s\n", "generation #{ENV['SERVER_STARTER_GENERATION']} pid #{$$}") * 512
  [200, { 'Content-Type' => 'text/plain', 'Content-Length' => body.bytesize.to_s }, [body]]
end)
