"""Running a bot: a client of two queues. It knows neither the database nor the hub."""

import asyncio
import logging
import signal

from chat.bots.stock_bot import robot
from chat.broker.base import Broker
from chat.broker.factory import make_broker
from chat.config import Settings
from chat.errors import OperatorError

log = logging.getLogger(__name__)

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class NothingToServe(OperatorError):
    """The bot lives elsewhere; the text says where."""


def serve(settings: Settings) -> None:
    """`chat bot`: answer commands until a signal comes. Raises `NothingToServe` for a broker within the server."""
    if settings.uses_memory_broker:
        raise NothingToServe("with AMQP_URL=memory: the robot lives in the server; there is nothing to start")

    async def until_signalled() -> None:
        stop = asyncio.Event()
        for number in STOP_SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        broker = make_broker(settings.amqp_url, prefix=settings.amqp_prefix, durable=settings.robot_queues_durable)
        await run(broker, settings, stop)

    asyncio.run(until_signalled())


async def run(broker: Broker, settings: Settings, stop: asyncio.Event) -> None:
    """Answer commands until `stop` is set."""
    async with robot(broker, settings):
        await broker.open()
        log.info("the robot listens")
        try:
            await stop.wait()
        finally:
            await broker.close()
