"""A server with threads that begins to accept eight seconds after its start.

It writes a complaint if it is told to finish while no other generation is ready.
"""

import http.server
import os
import signal
import socket
import threading
import time

GENERATION = os.environ["SERVER_STARTER_GENERATION"]
SCRATCH = os.environ["SCRATCH"]
LISTENER = int(os.environ["SERVER_STARTER_PORT"].rpartition("=")[2])
READY = int(os.environ["SERVER_STARTER_READY_FD"])


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/slow":
            time.sleep(0.08)
        body = f"generation {GENERATION} pid {os.getpid()}".ljust(31).encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) * 512))
        self.end_headers()
        self.wfile.write(body * 512)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    # server_close() waits for every answer.
    daemon_threads = False

    def __init__(self):
        super().__init__(("", 0), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = socket.socket(fileno=LISTENER)
        # Two generations wake up for one connection. The one that is too late must not hang in accept.
        self.socket.setblocking(False)


def finish(server, ready):
    signal.sigwait({signal.SIGTERM})
    os.unlink(ready)
    if not any(name.startswith("ready.") for name in os.listdir(SCRATCH)):
        with open(os.path.join(SCRATCH, "complaints"), "a", encoding="ascii") as complaints:
            complaints.write(f"no generation is ready besides {GENERATION}, which is told to finish\n")
    server.shutdown()


def main():
    # TERM is blocked before the first thread starts, so that only sigwait receives it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    time.sleep(8)
    server = Server()
    ready = os.path.join(SCRATCH, f"ready.{GENERATION}")
    with open(ready, "x", encoding="ascii"):
        pass
    threading.Thread(target=finish, args=(server, ready)).start()
    os.write(READY, b"\n")
    os.close(READY)
    server.serve_forever(0.05)
    server.server_close()


main()
