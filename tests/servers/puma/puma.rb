# At shutdown puma's reactor closes accepted connections whose request has not arrived yet
# (Server#reactor_wakeup in puma/server.rb). Without the reactor, each thread waits for its own request.
queue_requests false
