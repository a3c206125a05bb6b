"""Access lines that keep secrets."""

import logging

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.http_exceptions import HttpProcessingError


class AccessLogger(AbstractAccessLogger):
    """One line a request, without the query, which may hold tokens. The path stays quoted: it may hold line breaks."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        path = request.rel_url.raw_path
        self.logger.info("%s %s %s %d %.1f ms", request.remote, request.method, path, response.status, time * 1000)


def redact_malformed_request(record: logging.LogRecord) -> bool:
    """A filter for aiohttp's own log, which shows the line of a malformed request, token and all."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError):
        record.msg, record.args, record.exc_info = "not HTTP: %s", (type(error).__name__,), None
        record.levelno, record.levelname = logging.INFO, "INFO"  # the fault is the client's
    return True
