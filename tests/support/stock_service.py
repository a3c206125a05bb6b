"""A local stand-in for the CSV service of stock quotes."""

import asyncio
from typing import Self

from aiohttp import web


class StockService:
    """A local stand-in for the CSV service: real HTTP, and each way of going wrong has a code."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._release = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/q/l/?s={{code}}&f=sd2t2ohlcv&h&e=csv"

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/q/l/", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._release.set()
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        header = "Symbol,Date,Time,Open,High,Low,Close,Volume\r\n"
        code = request.query["s"]
        self.asked.append(code)
        if code == "hangs":
            await self._release.wait()
        answers = {
            "n.d": header + "N.D,N/D,N/D,N/D,N/D,N/D,N/D,N/D\r\n",
            "empty": "",
            "headless": header,
            "truncated": header + "TRUNCATED,2026-11-20,22:0",
            "html": "<html><body>Exceeded the daily hits limit</body></html>",
            "nonsense": header + "NONSENSE,2026-11-20,22:00:09,1,2,3,lots,5\r\n",
            "other": header + "MSFT.US,2026-11-20,22:00:09,1,2,3,4,5\r\n",
            "huge": header + "x" * 1_000_000,
        }
        if code in ("404", "500"):
            return web.Response(status=int(code), text="no")
        usual = header + f"{code.upper()},2026-11-20,22:00:09,93,94.5,92.1,93.42,75486300\r\n"
        return web.Response(text=answers.get(code, usual), content_type="text/csv")
