"""The stock bot: a client of two queues. It knows neither the database nor the hub.

    queue JOBSITY_RECEIVER ─ code ─ CSV from STOCK_URL ─ sentence ─ queue JOBSITY_PUBLISHER

The bot declares both queues. A command is acked when its reply is confirmed: a bot that dies in between leaves it to
the next one.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from chat.bots import stock_quotes
from chat.broker.base import Broker, QueueMessage
from chat.config import Settings
from chat.errors import BadRequest
from chat.protocol.bot_queues import COMMAND_QUEUE, REPLY_QUEUE, STOCK_UNAVAILABLE, BotMessage
from chat.protocol.codec import encode
from chat.protocol.frames import SendMessage, decode

log = logging.getLogger(__name__)

CHATUSER = "robot"  # as the original's clients know it


@asynccontextmanager
async def stock_bot(broker: Broker, settings: Settings) -> AsyncIterator[None]:
    """Consume the commands of a broker that is not open yet, while the context lasts."""
    timeout = aiohttp.ClientTimeout(total=settings.stock_timeout_s)
    async with aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as http:

        async def consumer(message: QueueMessage) -> None:
            try:
                command = decode(message.body)
                if not isinstance(command, SendMessage):
                    raise BadRequest("A message was expected.")
            except BadRequest as error:
                log.warning("a command is dropped: %s", error.text)
                return
            text = await quote_reply(http, settings.stock_url, command.chatmessage)
            reply = QueueMessage(encode(BotMessage(text, CHATUSER, command.chatroom_id)), message.correlation_id)
            await broker.enqueue(REPLY_QUEUE, reply, expires_s=settings.command_timeout_s)

        broker.declare(COMMAND_QUEUE)
        broker.declare(REPLY_QUEUE)
        broker.consume(COMMAND_QUEUE, consumer)
        yield


async def quote_reply(http: aiohttp.ClientSession, template: str, line: str) -> str:
    """The reply to a line `/stock=CODE`. Never raises: whatever fails is part of the reply."""
    try:
        code = stock_quotes.code_of(line)
    except BadRequest as error:
        return error.text
    try:
        body = await _fetch(http, stock_quotes.address(template, code))
        return stock_quotes.sentence(code, body)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError, stock_quotes.BadCsv) as error:
        log.warning("no quote of %s: %r", code, error)
        return STOCK_UNAVAILABLE


async def _fetch(http: aiohttp.ClientSession, address: str) -> bytes:
    """The body of a 200, at most `MAX_CSV_BYTES` long. Raises what aiohttp raises, and `BadCsv`."""
    async with http.get(address, headers={"Accept-Encoding": "identity"}) as response:
        response.raise_for_status()
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > stock_quotes.MAX_CSV_BYTES:
                raise stock_quotes.BadCsv("the answer is too large")
        return bytes(body)
