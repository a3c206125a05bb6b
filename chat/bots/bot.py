"""Running the stock bot as a process of its own."""

import asyncio
import logging
import signal

from chat.bots.stock_bot import stock_bot
from chat.broker.base import Broker
from chat.broker.factory import make_broker
from chat.config import Settings
from chat.errors import OperatorError

log = logging.getLogger(__name__)

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class NothingToServe(OperatorError):
    """The bot runs elsewhere."""


def serve(settings: Settings) -> None:
    """`chat bot`: answer commands until a signal comes. Raises `NothingToServe` for the broker within the server."""
    if settings.uses_memory_broker:
        raise NothingToServe("with AMQP_URL=memory: the bot runs in the server; there is nothing to start")

    async def until_signalled() -> None:
        stop = asyncio.Event()
        for number in STOP_SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        broker = make_broker(settings.amqp_url, prefix=settings.amqp_prefix)
        await run(broker, settings, stop)

    asyncio.run(until_signalled())


async def run(broker: Broker, settings: Settings, stop: asyncio.Event) -> None:
    """Answer commands until `stop` is set."""
    async with stock_bot(broker, settings):
        await broker.open()
        log.info("the bot listens")
        try:
            await stop.wait()
        finally:
            await broker.close()
