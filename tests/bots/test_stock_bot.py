"""chat/bots/stock_bot.py: the bot against a real HTTP service that goes wrong in every way."""

import asyncio

import aiohttp
import pytest

from chat.bots import stock_quotes
from chat.bots.stock_bot import quote_reply
from chat.protocol.bot_queues import STOCK_UNAVAILABLE
from tests.support.processes import free_port
from tests.support.stock_service import StockService


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("aapl.us", "AAPL.US quote is $93.42 per share"),
        ("n.d", "N.D quote is not available"),
        ("empty", STOCK_UNAVAILABLE),
        ("headless", STOCK_UNAVAILABLE),
        ("truncated", STOCK_UNAVAILABLE),
        ("html", STOCK_UNAVAILABLE),
        ("nonsense", STOCK_UNAVAILABLE),
        ("other", STOCK_UNAVAILABLE),
        ("404", STOCK_UNAVAILABLE),
        ("500", STOCK_UNAVAILABLE),
        ("huge", STOCK_UNAVAILABLE),
        ("hangs", STOCK_UNAVAILABLE),
        ("not a code!", stock_quotes.BAD_CODE),
    ],
)
async def test_whatever_the_service_does_the_bot_says_something(stocks: StockService, code: str, said: str) -> None:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.5)) as http:
        assert await quote_reply(http, stocks.url, f"/stock={code}") == said


async def test_a_service_that_is_not_there_is_not_available() -> None:
    async with aiohttp.ClientSession() as http:
        address = f"http://127.0.0.1:{free_port()}/?s={{code}}"
        assert await quote_reply(http, address, "/stock=AAPL.US") == STOCK_UNAVAILABLE


async def test_a_huge_answer_is_not_read_to_its_end() -> None:
    """The service sends for ever; the bot stops at its limit, long before its time limit."""

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\n\r\n")
        try:
            while True:
                writer.write(b"x" * 65_536)
                await writer.drain()
        except ConnectionError:
            writer.close()

    server = await asyncio.start_server(flood, "127.0.0.1", 0)
    async with server, aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as http:
        port = server.sockets[0].getsockname()[1]
        assert await quote_reply(http, f"http://127.0.0.1:{port}/{{code}}", "/stock=X") == STOCK_UNAVAILABLE
