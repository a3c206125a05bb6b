"""A TCP proxy that fails on demand: what a network does to connections, without a network."""

import asyncio
import contextlib
import socket
import struct
from typing import Self
from urllib.parse import urlsplit

CHUNK = 16 * 1024


class Proxy:
    """Listens on `port` and passes everything on to another server, until a test changes that.

    hold     nothing passes any more, in either direction, and neither side notices (a black hole)
    held     the data that is held, each with the local port of the connection on which it goes on
    release  what was held goes on, and everything after it
    cut      every connection ends with an RST
    finish   every connection ends with a FIN
    refusing every new connection ends with an RST at once
    """

    def __init__(self, host: str, port: int) -> None:
        self.host, self.target_port = host, port
        self.refusing = False
        self.held: list[tuple[int, bytes]] = []
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()

    @classmethod
    def before(cls, url: str) -> Self:
        """Return a proxy for the server that a URL names, to be entered. The URL has to name a port."""
        parts = urlsplit(url)
        assert parts.port is not None
        return cls(parts.hostname or "127.0.0.1", parts.port)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    def instead_of(self, url: str) -> str:
        """The URL of a server, by way of this proxy."""
        return url.replace(f":{self.target_port}/", f":{self.port}/")

    def hold(self) -> None:
        self._flowing.clear()

    def release(self) -> None:
        self._flowing.set()

    def cut(self) -> None:
        for writer in self._writers:
            _reset(writer)
        self._writers.clear()

    def finish(self) -> None:
        for writer in self._writers:
            writer.close()
        self._writers.clear()

    @property
    def connections(self) -> int:
        return len(self._writers) // 2

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        await self._flowing.wait()
        if self.refusing:
            return self._forget(writer)
        try:
            onward, back = await asyncio.open_connection(self.host, self.target_port)
        except OSError:
            return self._forget(writer)
        self._writers.add(back)
        for source, target in ((reader, back), (onward, writer)):
            pump = asyncio.create_task(self._pump(source, target))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    def _forget(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        _reset(writer)

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(CHUNK):
                chunk = (target.get_extra_info("sockname")[1], data)
                self.held.append(chunk)
                await self._flowing.wait()
                self.held.remove(chunk)
                target.write(data)
                await target.drain()
        await self._flowing.wait()
        self._writers.discard(target)
        target.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with an RST, whatever is still on its way."""
    end = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
