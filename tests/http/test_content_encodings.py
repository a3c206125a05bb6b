"""chat/http/content_encodings.py: bodies that are compressed, and bodies that only say so."""

import asyncio
import gzip
import json
import logging
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.errors import BadRequest, ChatError, TooLarge
from chat.http.content_encodings import decode_body
from chat.http.requests import MAX_BODY_BYTES
from tests.support.client import Chat

ENCODINGS = ["gzip", "deflate", "br", "zstd", "x-gzip", "GZIP", "gzip, gzip", "compress", "unheard"]
BODY = json.dumps({"email": "nobody@example.com", "password": "correct horse"}).encode()


def raw_deflate(body: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(body) + compressor.flush()


async def answer(chat: Chat, *encodings: str, body: bytes) -> tuple[int, str, Any]:
    """Status, content type and JSON of the answer to a log-in whose body is sent as it stands here."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(chat.base_url.rpartition(":")[2]))
    lines = ["POST /v1/auth/login HTTP/1.1", "Host: h", "Connection: close", "Content-Type: application/json"]
    lines += [f"Content-Encoding: {encoding}" for encoding in encodings]
    writer.write("\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body)
    head, _, content = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    status = int(head.split(b" ", 2)[1])
    media_type = head.lower().partition(b"content-type: ")[2].partition(b";")[0].partition(b"\r")[0].decode()
    return status, media_type, json.loads(content)


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_a_body_that_is_not_what_its_encoding_says_is_400_in_json(
    chat: Chat, caplog: pytest.LogCaptureFixture, encoding: str
) -> None:
    status, media_type, told = await answer(chat, encoding, body=BODY)
    assert (status, media_type, told["error"]["code"]) == (400, "application/json", "bad_request")
    assert "Content-Encoding" in told["error"]["message"]
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(BODY)),
        ("deflate", zlib.compress(BODY)),
        ("deflate", raw_deflate(BODY)),
        ("identity", BODY),
    ],
)
async def test_a_compressed_body_is_understood(chat: Chat, encoding: str, body: bytes) -> None:
    status, _, told = await answer(chat, encoding, body=body)
    assert (status, told["error"]["code"]) == (401, "wrong_credentials")


async def test_two_headers_are_two_encodings(chat: Chat) -> None:
    status, _, told = await answer(chat, "gzip", "gzip", body=gzip.compress(BODY))
    assert (status, told["error"]["code"]) == (400, "bad_request")


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress])
async def test_a_decompression_bomb_is_too_large(chat: Chat, compress: Any) -> None:
    bomb = compress(b" " * 50_000_000)
    status, _, told = await answer(chat, "gzip" if compress is gzip.compress else "deflate", body=bomb)
    assert (status, told["error"]["code"]) == (413, "too_large")


@pytest.mark.parametrize("size", [MAX_BODY_BYTES, MAX_BODY_BYTES + 1])
@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_the_limit_is_that_of_the_decoded_body(size: int, encoding: str, compress: Any) -> None:
    body = compress(b" " * size)
    if size > MAX_BODY_BYTES:
        with pytest.raises(TooLarge):
            decode_body(body, encoding, max_bytes=MAX_BODY_BYTES)
    else:
        assert decode_body(body, encoding, max_bytes=MAX_BODY_BYTES) == b" " * size


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(BODY)[:-1]),
        ("gzip", gzip.compress(BODY) + b"x"),
        ("gzip", gzip.compress(b"x") * 2000),
        ("gzip", b""),
        ("deflate", zlib.compress(BODY)[:-1]),
        ("deflate", b""),
        ("deflate", raw_deflate(BODY)[:-1]),
    ],
)
def test_a_stream_has_to_be_one_and_complete(encoding: str, body: bytes) -> None:
    with pytest.raises(BadRequest, match="complete"):
        decode_body(body, encoding, max_bytes=MAX_BODY_BYTES)


@given(body=st.binary(max_size=200), encoding=st.sampled_from(ENCODINGS))
def test_any_bytes_are_an_answer(body: bytes, encoding: str) -> None:
    try:
        assert len(decode_body(body, encoding, max_bytes=100)) <= 100
    except ChatError as error:
        assert error.status in (400, 413)
