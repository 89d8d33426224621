"""A parent that forks single-process workers. All of them accept on the one inherited listener."""

import os
import select
import signal
import socket
import time

WORKERS = 4
HANGS = "HANGS" in os.environ
GENERATION = os.environ["SERVER_STARTER_GENERATION"]


def main():
    # TERM is blocked before the first fork, so that only sigwait below receives it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    listener = socket.socket(fileno=int(os.environ["SERVER_STARTER_PORT"].rpartition("=")[2]))
    # Several workers wake up for one connection. Those that are too late must not hang in accept.
    listener.setblocking(False)
    # When the parent ends or is killed, its end of this pipe closes, and every worker notices.
    stop, running = os.pipe()
    children = [fork_worker(listener, stop, running) for _ in range(WORKERS)]
    signal.sigwait({signal.SIGTERM})
    while HANGS:
        signal.pause()
    os.close(running)
    for child in children:
        os.waitpid(child, 0)


def fork_worker(listener, stop, running):
    child = os.fork()
    if child == 0:
        # A worker that keeps this end does not notice the end of the parent.
        if not HANGS:
            os.close(running)
        work(listener, stop)
        os._exit(0)
    return child


def work(listener, stop):
    while stop not in select.select([listener, stop], [], [])[0]:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            continue
        with connection:
            answer(connection)


def answer(connection):
    request = b""
    while b"\r\n\r\n" not in request:
        received = connection.recv(4096)
        if not received:
            return
        request += received
    if request.startswith(b"GET /slow "):
        time.sleep(0.08)
    body = f"generation {GENERATION} pid {os.getpid()}".ljust(31).encode() + b"\n"
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 16384\r\n\r\n" + body * 512)


main()
