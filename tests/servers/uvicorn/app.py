"""An ASGI application."""

import asyncio
import os


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    if scope["path"] == "/slow":
        await asyncio.sleep(0.08)
    line = f"generation {os.environ['SERVER_STARTER_GENERATION']} pid {os.getpid()}".ljust(31) + "\n"
    body = line.encode() * 512
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})
