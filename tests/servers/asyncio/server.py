"""An asyncio server that stops accepting on TERM and finishes the connections that it has accepted.

asyncio.Server is not used. If close() is called while an accepted connection has no transport yet, the
connection fails in Server._attach() (asyncio/base_events.py) and is dropped.
"""

import asyncio
import os
import signal
import socket

GENERATION = os.environ["SERVER_STARTER_GENERATION"]
BODY = (f"generation {GENERATION} pid {os.getpid()}".ljust(31) + "\n").encode() * 512


def inherited():
    listener = socket.socket(fileno=int(os.environ["SERVER_STARTER_PORT"].rpartition("=")[2]))
    listener.setblocking(False)
    return listener


async def main():
    loop = asyncio.get_running_loop()
    listener = inherited()
    accepted = set()
    stop = asyncio.Event()

    def accept():
        try:
            connection, _ = listener.accept()
        except BlockingIOError:  # another generation has accepted it
            return
        task = loop.create_task(serve(connection))
        accepted.add(task)
        task.add_done_callback(accepted.discard)

    def leave():
        loop.remove_reader(listener)
        stop.set()

    loop.add_signal_handler(signal.SIGTERM, leave)
    loop.add_reader(listener, accept)
    await stop.wait()
    await asyncio.gather(*accepted, return_exceptions=True)


async def serve(connection):
    await answer(*await asyncio.open_connection(sock=connection))


async def answer(reader, writer):
    request = await reader.readuntil(b"\r\n\r\n")
    if request.startswith(b"GET /slow "):
        await asyncio.sleep(0.08)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 16384\r\n\r\n" + BODY)
    await writer.drain()
    writer.close()
    await writer.wait_closed()


if __name__ == "__main__":
    asyncio.run(main())
