"""What Content-Encoding says of a request's body.

The server decodes bodies itself, because aiohttp answers some of those that cannot be decoded in plain text, before any
handler runs.
"""

import zlib
from collections.abc import Callable

from chat.errors import BadRequest, TooLarge

_GZIP = zlib.MAX_WBITS | 16
_RAW_DEFLATE = -zlib.MAX_WBITS


def decode_body(body: bytes, encoding: str, *, max_bytes: int) -> bytes:
    """The body without its encoding: gzip, deflate or none. Raises `BadRequest`, `TooLarge`.

    No more than `max_bytes` are ever decompressed.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    window_bits = _WINDOW_BITS.get(encoding)
    if window_bits is None:
        raise BadRequest(f"Content-Encoding {encoding[:32]!r} is not known. Send gzip, deflate or none.")
    decompressor = zlib.decompressobj(window_bits(body))
    try:
        decoded = decompressor.decompress(body, max_bytes + 1)
    except zlib.error:
        raise BadRequest(f"The body is not {encoding}, which Content-Encoding says.") from None
    if len(decoded) > max_bytes:
        raise TooLarge("The body is too large.")
    if not decompressor.eof or decompressor.unused_data:
        raise BadRequest(f"The body is not exactly one complete stream of {encoding}. Send it again.")
    return decoded


def _deflate_window_bits(body: bytes) -> int:
    """With the header of zlib, as the standard says, or without it, as some clients send it."""
    return zlib.MAX_WBITS if body[:1] and body[0] & 0x0F == zlib.DEFLATED else _RAW_DEFLATE


_WINDOW_BITS: dict[str, Callable[[bytes], int]] = {
    "gzip": lambda _: _GZIP,
    "x-gzip": lambda _: _GZIP,
    "deflate": _deflate_window_bits,
}
