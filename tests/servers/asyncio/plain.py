"""The server of server.py by asyncio.Server, which loses connections."""

import asyncio
import signal

from server import answer, inherited


async def main():
    server = await asyncio.start_server(answer, sock=inherited())
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    server.close()
    await server.wait_closed()
    # Some versions of Python do not wait for the connections in wait_closed().
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*others, return_exceptions=True)


asyncio.run(main())
