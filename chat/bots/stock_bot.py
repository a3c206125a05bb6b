"""The stock robot: another client of two queues. It knows neither the database nor the hub.

    queue JOBSITY_RECEIVER ─ code ─ CSV from STOCK_URL ─ sentence ─ queue JOBSITY_PUBLISHER

A command is acked when its answer is confirmed: a robot that dies in between leaves it to the next one.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from chat.bots import stock_quotes as stocks
from chat.broker.base import Broker, QueueMessage
from chat.config import Settings
from chat.errors import BadRequest
from chat.protocol.bot_queues import COMMAND_QUEUE, REPLY_QUEUE, STOCK_SERVICE_DOWN
from chat.protocol.codec import encode
from chat.protocol.frames import MESSAGE, Post, decode

log = logging.getLogger(__name__)

ROBOT = "robot"  # its chatuser


@asynccontextmanager
async def robot(broker: Broker, settings: Settings) -> AsyncIterator[None]:
    """Serves the queue of a broker that is not open yet, as long as the context lasts."""
    timeout = aiohttp.ClientTimeout(total=settings.stock_timeout_s)
    async with aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as http:

        async def handle(letter: QueueMessage) -> None:
            try:
                asked = decode(letter.body)
                if not isinstance(asked, Post):
                    raise BadRequest("a message was expected")
            except BadRequest as error:
                log.warning("a command is dropped: %s", error.text)
                return
            said = await answer(http, settings.stock_url, asked.chatmessage)
            reply = {"type": MESSAGE, "chatmessage": said, "chatuser": ROBOT, "chatroomId": asked.chatroomId}
            outgoing = QueueMessage(encode(reply), letter.correlation_id)
            await broker.enqueue(REPLY_QUEUE, outgoing, expires_s=settings.command_timeout_s)

        broker.consume(COMMAND_QUEUE, handle)
        yield


async def answer(http: aiohttp.ClientSession, template: str, line: str) -> str:
    """What the robot says to a line `/stock=CODE`. Never raises: whatever fails is said."""
    try:
        code = stocks.code_of(line)
    except BadRequest as error:
        return error.text
    try:
        body = await _fetch(http, stocks.address(template, code))
        return stocks.sentence(code, body)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError, stocks.BadCsv) as error:
        log.warning("no quote of %s: %r", code, error)
        return STOCK_SERVICE_DOWN


async def _fetch(http: aiohttp.ClientSession, address: str) -> bytes:
    """The body of a 200, at most `CSV_BYTES` long. Raises what aiohttp does, or `BadCsv`."""
    async with http.get(address, headers={"Accept-Encoding": "identity"}) as response:
        response.raise_for_status()
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > stocks.CSV_BYTES:
                raise stocks.BadCsv("the answer is huge")
        return bytes(body)
