"""The application with a shutdown of uvicorn that drops no connection.

In uvicorn 0.17.6, Server.shutdown (uvicorn/server.py) loses two kinds of accepted connections. close()
of asyncio drops a connection that has no transport yet (see ../asyncio/server.py). H11Protocol.shutdown
(uvicorn/protocols/http/h11_impl.py) closes a connection whose request has not arrived yet.
"""

import asyncio

import uvicorn

from app import app  # for uvicorn, which looks for it in this module

shutdown = uvicorn.Server.shutdown


async def finish_accepted(server, sockets=None):
    loop = asyncio.get_running_loop()
    for listening in server.servers:
        for listener in listening.sockets:
            loop.remove_reader(listener.fileno())
    # The transport or the request of a new connection may not be there yet. A client that sends nothing
    # delays the end no longer than the keep-alive timeout.
    patience = loop.time() + server.config.timeout_keep_alive
    await asyncio.sleep(0.1)
    while loop.time() < patience \
            and any(connection.cycle is None for connection in server.server_state.connections):
        await asyncio.sleep(0.01)
    await shutdown(server, sockets)


uvicorn.Server.shutdown = finish_accepted
