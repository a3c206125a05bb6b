"""What the workloads are compared with: `python -m tests.bench.references NAME PORT [ARGUMENT …]`.

Each does the least that a program in this language can do for the same work: nothing is stored, and no user
is authenticated. They are not meant to be good servers.
"""

import asyncio
import json
import sys
from collections import defaultdict
from typing import Any

import argon2
from aiohttp import web

from chat.realtime.websocket_frames import text_frame

CONTROL = b"control"


def broadcast(port: int, size: str) -> None:
    """Plain asyncio: for each byte on the control connection, one finished frame to every other connection.

    The frame has `size` bytes of payload. A byte comes back on the control connection for each round.
    """
    frame = text_frame(b"x" * int(size))
    listeners: set[asyncio.Transport] = set()

    class Connection(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport
            self.control = False
            listeners.add(transport)

        def data_received(self, data: bytes) -> None:
            if not self.control:  # the request
                self.control = CONTROL in data
                if self.control:
                    listeners.discard(self.transport)
                self.transport.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
                return
            for _ in data:
                for transport in listeners:
                    transport.write(frame)
                self.transport.write(b"\x81\x00")

        def connection_lost(self, exc: Exception | None) -> None:
            listeners.discard(self.transport)

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=1024)
        await server.serve_forever()

    asyncio.run(serve())


def relay(port: int) -> None:
    """aiohttp: each message of a socket is sent to all listening sockets of its room, one after another."""
    rooms: defaultdict[int, list[web.WebSocketResponse]] = defaultdict(list)

    async def join(request: web.Request) -> web.StreamResponse:
        if "room" not in request.query:
            return web.Response()
        room = rooms[int(request.query["room"])]
        ws = web.WebSocketResponse(compress=False)
        await ws.prepare(request)
        if "listen" in request.query:
            room.append(ws)
        async for message in ws:
            said = json.loads(message.data)
            text = json.dumps({**said, "chatuser": "somebody@example.com", "userId": 1, "username": "somebody"})
            for peer in room:
                await peer.send_str(text)
        return ws

    _run(port, join)


def hold(port: int, ping_interval_s: str) -> None:
    """aiohttp: websockets that get pings and nothing else."""

    async def stay(request: web.Request) -> web.StreamResponse:
        if "Upgrade" not in request.headers:
            return web.Response()
        ws = web.WebSocketResponse(compress=False, heartbeat=float(ping_interval_s))
        await ws.prepare(request)
        async for _ in ws:
            pass
        return ws

    _run(port, stay)


def constant(port: int, size: str) -> None:
    """aiohttp: always the same body of `size` bytes."""
    body = b"x" * int(size)

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    _run(port, answer)


def hashes(_: int, threads: str, seconds: str) -> None:
    """argon2-cffi alone, with the server's parameters: prints verifications a second."""
    import threading
    import time

    hasher = argon2.PasswordHasher(parallelism=1)
    encoded = hasher.hash("correct horse")
    end = time.perf_counter() + float(seconds)
    done: list[float] = []

    def work() -> None:
        while time.perf_counter() < end:
            hasher.verify(encoded, "correct horse")
            done.append(time.perf_counter())

    began = time.perf_counter()
    workers = [threading.Thread(target=work) for _ in range(int(threads))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print(len(done) / (max(done) - began))


def _run(port: int, handler: Any) -> None:
    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None)


if __name__ == "__main__":
    {each.__name__: each for each in (broadcast, relay, hold, constant, hashes)}[sys.argv[1]](
        int(sys.argv[2]), *sys.argv[3:]
    )
