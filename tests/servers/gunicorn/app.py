import os
import time


def app(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        time.sleep(0.08)
    line = f"generation {os.environ['SERVER_STARTER_GENERATION']} pid {os.getpid()}".ljust(31) + "\n"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(line) * 512))])
    return [line.encode() * 512]
