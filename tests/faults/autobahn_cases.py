"""The cases of the Autobahn Testsuite, sections 2 to 7, by their numbers, as bytes for this server.

The suite expects an echo server. This server echoes the `requestId` of a frame that it does not know, in an error: a
text of the suite is sent as one, so that its content comes back. Control characters and empty texts come back as an
error without a `requestId`.
"""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from tests.support.websocket_bytes import Opcode, client_frame, close_payload

Event = tuple[str, bytes]
PAUSE = b""  # between two writes: the server has handled what was written before

QUIET: Event = ("quiet", b"")  # the connection was still open after a pause

frame = partial(client_frame, mask_key=b"\x37\xfa\x21\x3d")


class Case(NamedTuple):
    """What a client writes, piece by piece, and what it may receive until the connection ends.

    events: those of a server that passes
    close_codes: one of these has to be in the server's close frame; None: the connection may end without one
    non_strict: the events of a server that conforms, and could do better
    informational: RFC 6455 leaves the behaviour open
    """

    writes: tuple[bytes, ...]
    events: tuple[Event, ...]
    close_codes: tuple[int | None, ...]
    non_strict: tuple[Event, ...] | None = None
    informational: bool = False


NORMAL, PROTOCOL_ERROR, INVALID_DATA, TOO_BIG = 1000, 1002, 1007, 1009

CLOSE = frame(Opcode.CLOSE, close_payload(NORMAL))
HELLO = b"Hello, world!"
GREEK = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5"  # κόσμε, with the letter of three octets
UMLAUTS = "Hello-µ@ßöäüàá-UTF-8!!".encode()
BINARY = b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"


def question(text: bytes) -> bytes:
    """A frame that the server answers with an error which has the text."""
    return b'{"type":99,"requestId":"' + text + b'"}'


def text(content: bytes, *, rsv: int = 0) -> bytes:
    return frame(Opcode.TEXT, question(content), rsv=rsv)


def fragments(*parts: bytes) -> list[bytes]:
    """The frames of one text. The question is around all of them."""
    before, after = question(b"|").split(b"|")
    first, *others = parts
    *between, last = others
    return [
        frame(Opcode.TEXT, before + first, fin=False),
        *(frame(Opcode.CONTINUATION, part, fin=False) for part in between),
        frame(Opcode.CONTINUATION, last + after),
    ]


def in_octets(content: bytes) -> list[bytes]:
    """The frames of one text, each with one octet of it."""
    first, *between, last = (bytes((octet,)) for octet in question(content))
    return [
        frame(Opcode.TEXT, first, fin=False),
        *(frame(Opcode.CONTINUATION, octet, fin=False) for octet in between),
        frame(Opcode.CONTINUATION, last),
    ]


def octets(*frames: bytes) -> tuple[bytes, ...]:
    """The same frames, octet by octet."""
    return tuple(bytes((octet,)) for octet in b"".join(frames))


def echoed(*contents: bytes) -> tuple[Event, ...]:
    return tuple(("text", content) for content in contents)


def ponged(*payloads: bytes) -> tuple[Event, ...]:
    return tuple(("pong", payload) for payload in payloads)


def served(writes: tuple[bytes, ...], *events: Event) -> Case:
    """A case without fault: the client closes at its end."""
    return Case((*writes, CLOSE), events, (NORMAL,))


def failed(writes: tuple[bytes, ...], *events: Event, code: int = PROTOCOL_ERROR) -> Case:
    """A case at whose fault the server closes. What came before it should be answered, but need not be."""
    return Case(writes, events, (code,), non_strict=() if events else None)


def cases() -> dict[str, Case]:
    """All cases by their numbers."""
    return {
        number: case
        for section in (pings(), reserved_bits(), opcodes(), fragmentation(), utf8(), utf8_sequences(), closing())
        for number, case in section
    }


def pings() -> Iterator[tuple[str, Case]]:
    ping, pong = partial(frame, Opcode.PING), partial(frame, Opcode.PONG)
    longest = b"\xfe" * 125
    payloads = [b"payload-%d" % number for number in range(10)]
    yield "2.1", served((ping(b""),), *ponged(b""))
    yield "2.2", served((ping(HELLO),), *ponged(HELLO))
    yield "2.3", served((ping(BINARY),), *ponged(BINARY))
    yield "2.4", served((ping(longest),), *ponged(longest))
    yield "2.5", failed((ping(longest + b"\xfe"),))
    yield "2.6", served(octets(ping(longest)), *ponged(longest))
    yield "2.7", served((pong(b""),))
    yield "2.8", served((pong(b"unsolicited pong payload"),))
    yield "2.9", served((pong(b"unsolicited pong payload"), ping(b"ping payload")), *ponged(b"ping payload"))
    yield "2.10", served((b"".join(map(ping, payloads)),), *ponged(*payloads))
    yield "2.11", served(octets(*map(ping, payloads)), *ponged(*payloads))


def reserved_bits() -> Iterator[tuple[str, Case]]:
    ping = frame(Opcode.PING)
    yield "3.1", failed((text(HELLO, rsv=1),))
    yield "3.2", failed((text(HELLO) + text(HELLO, rsv=2) + ping,), *echoed(HELLO))
    yield "3.3", failed((text(HELLO), text(HELLO, rsv=3), ping), *echoed(HELLO))
    yield "3.4", failed(octets(text(HELLO), text(HELLO, rsv=4), ping), *echoed(HELLO))
    yield "3.5", failed((frame(Opcode.BINARY, BINARY, rsv=5),))
    yield "3.6", failed((frame(Opcode.PING, HELLO, rsv=6),))
    yield "3.7", failed((frame(Opcode.CLOSE, rsv=7),))


def opcodes() -> Iterator[tuple[str, Case]]:
    ping = frame(Opcode.PING)
    for section, first in (("4.1", 3), ("4.2", 11)):
        yield f"{section}.1", failed((frame(first),))
        yield f"{section}.2", failed((frame(first + 1, b"reserved opcode payload"),))
        yield f"{section}.3", failed((text(HELLO) + frame(first + 2) + ping,), *echoed(HELLO))
        yield f"{section}.4", failed((text(HELLO) + frame(first + 3, HELLO) + ping,), *echoed(HELLO))
        yield f"{section}.5", failed(octets(text(HELLO), frame(first + 4, HELLO), ping), *echoed(HELLO))


def fragmentation() -> Iterator[tuple[str, Case]]:
    one, two, whole = b"fragment1", b"fragment2", b"fragment1fragment2"
    begin, end = fragments(one, two)
    ping, payload = frame(Opcode.PING, b"ping payload"), b"ping payload"
    yield "5.1", failed((frame(Opcode.PING, one, fin=False) + frame(Opcode.CONTINUATION, two),))
    yield "5.2", failed((frame(Opcode.PONG, one, fin=False) + frame(Opcode.CONTINUATION, two),))
    yield "5.3", served((begin + end,), *echoed(whole))
    yield "5.4", served((begin, end), *echoed(whole))
    yield "5.5", served(octets(begin, end), *echoed(whole))
    yield "5.6", served((begin + ping + end,), *ponged(payload), *echoed(whole))
    yield "5.7", served((begin, ping, end), *ponged(payload), *echoed(whole))
    yield "5.8", served(octets(begin, ping, end), *ponged(payload), *echoed(whole))
    for number, fin in ((9, True), (12, False)):
        stray = frame(Opcode.CONTINUATION, b"non-continuation payload", fin=fin)
        yield f"5.{number}", failed((stray + text(HELLO),))
        yield f"5.{number + 1}", failed((stray, text(HELLO)))
        yield f"5.{number + 2}", failed(octets(stray, text(HELLO)))
    stray = frame(Opcode.CONTINUATION, b"fragment3", fin=False)
    yield "5.15", failed((begin + end + stray + text(b"fragment4"),), *echoed(whole))
    for number, fin in ((16, False), (17, True)):
        stray = frame(Opcode.CONTINUATION, b"fragment1", fin=fin)
        yield f"5.{number}", failed(((stray + b"".join(fragments(b"fragment2", b"fragment3"))) * 2,))
    yield "5.18", failed((begin + frame(Opcode.TEXT, two),))
    parts = [b"fragment%d" % number for number in range(1, 6)]
    first, second, third, fourth, fifth = fragments(*parts)
    early, late = b"pongme 1!", b"pongme 2!"
    pinged, again = frame(Opcode.PING, early), frame(Opcode.PING, late)
    events = (*ponged(early), QUIET, *ponged(late), *echoed(b"".join(parts)))
    yield "5.19", served((first + second + pinged, PAUSE, third + fourth + again + fifth), *events)
    yield "5.20", served((first, second, pinged, PAUSE, third, fourth, again, fifth), *events)


def utf8() -> Iterator[tuple[str, Case]]:
    middle = b"middle frame payload"
    empty = partial(frame, Opcode.CONTINUATION, b"")
    surrogate = GREEK + b"\xed\xa0\x80edited"
    begin, end = fragments("Hello-µ@ßöä".encode(), "üàá-UTF-8!!".encode())
    yield "6.1.1", served((frame(Opcode.TEXT),), *echoed(b""))
    yield "6.1.2", served((frame(Opcode.TEXT, fin=False) + empty(fin=False) + empty(),), *echoed(b""))
    around = frame(Opcode.TEXT, fin=False) + frame(Opcode.CONTINUATION, question(middle), fin=False) + empty()
    yield "6.1.3", served((around,), *echoed(middle))
    yield "6.2.1", served((text(UMLAUTS),), *echoed(UMLAUTS))
    yield "6.2.2", served((begin + end,), *echoed(UMLAUTS))
    yield "6.2.3", served((b"".join(in_octets(UMLAUTS)),), *echoed(UMLAUTS))
    yield "6.2.4", served((b"".join(in_octets(GREEK)),), *echoed(GREEK))
    yield "6.3.1", failed((text(surrogate),), code=INVALID_DATA)
    yield "6.3.2", failed((b"".join(in_octets(surrogate)),), code=INVALID_DATA)
    beyond = GREEK + b"\xf4\x90\x80\x80edited"  # behind the last code point; its second octet shows it
    for at, (first_cut, second_cut) in enumerate(((11, 15), (12, 13))):
        parts = beyond[:first_cut], beyond[first_cut:second_cut], beyond[second_cut:]
        whole = text(beyond)
        head = len(whole) - len(beyond) - len(b'"}')
        chops = whole[: head + first_cut], whole[head + first_cut : head + second_cut], whole[head + second_cut :]
        for number, (one, two, three) in ((1 + at, fragments(*parts)), (3 + at, chops)):
            writes = (one, PAUSE, two, PAUSE, three)
            yield f"6.4.{number}", Case(writes, (QUIET,), (INVALID_DATA,), non_strict=(QUIET, QUIET))


def utf8_sequences() -> Iterator[tuple[str, Case]]:
    """Texts of one frame each, most of them from Markus Kuhn's stress test of UTF-8 decoders."""
    incomplete = [
        *(b"\xc0", b"\xe0\x80", b"\xf0\x80\x80", b"\xf8\x80\x80\x80", b"\xfc\x80\x80\x80\x80"),
        *(b"\xdf", b"\xef\xbf", b"\xf7\xbf\xbf", b"\xfb\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf"),
    ]
    surrogates = [b"\xed" + after for after in (b"\xa0\x80", b"\xad\xbf", b"\xae\x80", b"\xaf\xbf", b"\xb0\x80")]
    starts = ((0xC0, 0xDF), (0xE0, 0xEF), (0xF0, 0xF7), (0xF8, 0xFB), (0xFC, 0xFD))
    beyond_the_first = [chr(plane << 16 | last).encode() for plane in range(1, 17) for last in (0xFFFE, 0xFFFF)]
    groups: list[list[bytes]] = [
        [b"hello" + letter.encode() + b"world" for letter in "$¢€\U00024b62"] + [GREEK],
        [GREEK[:size] for size in range(1, len(GREEK) + 1)],
        [chr(first).encode() for first in (0, 0x80, 0x800, 0x10000)],
        [b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80"],
        [chr(last).encode() for last in (0x7F, 0x7FF, 0xFFFF, 0x10FFFF)],
        [b"\xf7\xbf\xbf\xbf", b"\xfb\xbf\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf\xbf"],
        [chr(bound).encode() for bound in (0xD7FF, 0xE000, 0xFFFD, 0x10FFFF)] + [b"\xf4\x90\x80\x80"],
        [b"\x80", b"\xbf", *((b"\x80\xbf" * 3)[:size] for size in range(2, 7)), bytes(range(0x80, 0xBF))],
        [b"".join(bytes((octet, 0x20)) for octet in range(*bounds)) for bounds in starts],
        incomplete,
        [b"".join(incomplete)],
        [b"\xfe", b"\xff", b"\xfe\xfe\xff\xff"],
        [b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf", b"\xf8\x80\x80\x80\xaf", b"\xfc\x80\x80\x80\x80\xaf"],
        [
            *(b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf"),
            *(b"\xf8\x87\xbf\xbf\xbf", b"\xfc\x83\xbf\xbf\xbf\xbf"),
        ],
        [b"\xc0\x80", b"\xe0\x80\x80", b"\xf0\x80\x80\x80", b"\xf8\x80\x80\x80\x80", b"\xfc\x80\x80\x80\x80\x80"],
        [*surrogates, b"\xed\xbe\x80", b"\xed\xbf\xbf"],
        [high + low for high in surrogates[:4] for low in (b"\xed\xb0\x80", b"\xed\xbf\xbf")],
        ["\ufffe".encode(), "\uffff".encode(), *beyond_the_first],
        [chr(special).encode() for special in range(0xFFF9, 0x10000)],
    ]
    for section, sequences in enumerate(groups, start=5):
        for number, sequence in enumerate(sequences, start=1):
            yield f"6.{section}.{number}", _sequence(sequence)


def _sequence(sequence: bytes) -> Case:
    try:
        sequence.decode()
    except UnicodeDecodeError:
        return failed((text(sequence),), code=INVALID_DATA)
    return served((text(sequence),), *echoed(b"" if sequence == b"\x00" else sequence))


def closing() -> Iterator[tuple[str, Case]]:
    hello = b"Hello World!"
    begin, end = fragments(b"fragment1", b"fragment2")
    huge = frame(Opcode.TEXT, b"BAsd7&jh23" * 26_214 + b"BAsd")
    close = partial(frame, Opcode.CLOSE)
    yield "7.1.1", served((text(hello),), *echoed(hello))
    yield "7.1.2", Case((CLOSE + close(),), (), (NORMAL,))
    yield "7.1.3", Case((CLOSE + frame(Opcode.PING),), (), (NORMAL,))
    yield "7.1.4", Case((CLOSE + text(hello),), (), (NORMAL,))
    yield "7.1.5", Case((begin + CLOSE + end,), (), (NORMAL,))
    yield "7.1.6", Case((huge, text(hello), CLOSE, frame(Opcode.PING)), (), (TOO_BIG, None), informational=True)
    yield "7.3.1", Case((close(),), (), (NORMAL,))
    yield "7.3.2", failed((close(b"a"),))
    yield "7.3.3", Case((CLOSE,), (), (NORMAL,))
    yield "7.3.4", Case((close(close_payload(NORMAL, hello)),), (), (NORMAL,))
    yield "7.3.5", Case((close(close_payload(NORMAL, b"*" * 123)),), (), (NORMAL,))
    yield "7.3.6", failed((close(close_payload(NORMAL, b"*" * 124)),))
    bad_reason = close_payload(NORMAL, GREEK + b"\xed\xa0\x80edited")
    yield "7.5.1", Case((close(bad_reason),), (), (PROTOCOL_ERROR, INVALID_DATA))
    valid = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
    for number, code in enumerate(valid, start=1):
        yield f"7.7.{number}", Case((close(close_payload(code)),), (), (NORMAL, code))
    for number, code in enumerate((0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999), start=1):
        yield f"7.9.{number}", failed((close(close_payload(code)),))
    for number, code in enumerate((5000, 65_535), start=1):
        yield f"7.13.{number}", Case((close(close_payload(code)),), (), (PROTOCOL_ERROR,), informational=True)
