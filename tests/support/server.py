"""Run the server and the bot: inside this process, or each as a process of its own."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence

from aiohttp import web

from chat.app import make_app
from chat.bots.stock_bot import stock_bot
from chat.broker.factory import make_broker
from chat.config import Settings
from tests.support.client import Chat
from tests.support.processes import free_port
from tests.support.settings import ROOT, as_environment
from tests.support.waiting import PATIENCE_S


class InProcessServer(Chat):
    """A server inside this process: `app` gives a test its parts, and `settings` are its settings."""

    def __init__(self, base_url: str, app: web.Application, settings: Settings) -> None:
        super().__init__(base_url, settings)
        self.app = app


@contextlib.asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[InProcessServer]:
    """Run a server inside this process."""
    runner = web.AppRunner(make_app(settings), access_log=None, keepalive_timeout=1, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        async with InProcessServer(f"http://127.0.0.1:{port}", runner.app, settings) as chat:
            yield chat
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def running_bot(settings: Settings) -> AsyncIterator[None]:
    """Run a bot inside this process, on a connection of its own."""
    broker = make_broker(settings.amqp_url, prefix=settings.amqp_prefix)
    async with stock_bot(broker, settings):
        await broker.open()
        try:
            yield
        finally:
            await broker.close()


class Process:
    """`python -m chat …` as a process of the operating system."""

    def __init__(self, process: asyncio.subprocess.Process, settings: Settings, port: int, lines: list[str]) -> None:
        self.process, self.settings, self.port, self.lines = process, settings, port, lines

    def client(self) -> Chat:
        """Return a client of this server, to be entered."""
        return Chat(f"http://127.0.0.1:{self.port}", self.settings)

    def has_logged(self, text: str) -> bool:
        return any(text in line for line in self.lines)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self, within_s: float = PATIENCE_S) -> int:
        return await asyncio.wait_for(self.process.wait(), within_s)


@contextlib.asynccontextmanager
async def process(
    command: str, settings: Settings, *, port: int = 0, program: Sequence[str] = ("-m", "chat"), **changed: str
) -> AsyncIterator[Process]:
    """Run a command with these settings; yield it when it listens or has ended. `program`: what Python runs."""
    port = port or free_port()
    environment = {
        **os.environ,
        **as_environment(settings),
        "PORT": str(port),
        **changed,
    }
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *program,
        command,
        cwd=ROOT,
        env=environment,
        stderr=asyncio.subprocess.PIPE,
        stdin=asyncio.subprocess.DEVNULL,
    )
    lines: list[str] = []
    ready = asyncio.Event()

    async def read() -> None:
        assert child.stderr is not None
        async for line in child.stderr:
            lines.append(line.decode())
            if "listening on" in lines[-1] or "the bot listens" in lines[-1]:
                ready.set()
        ready.set()

    reader = asyncio.create_task(read())
    try:
        await asyncio.wait_for(ready.wait(), 30)
        yield Process(child, settings, port, lines)
    finally:
        if child.returncode is None:
            child.terminate()
            try:
                await asyncio.wait_for(child.wait(), 15)
            except TimeoutError:
                child.kill()
                await child.wait()
        await reader
