"""What processes tell one another through the broker. Pure."""

from collections.abc import Callable

import msgspec

# What the broker carries for one event: room, seq (None: never stored), kind, user, frame. MessagePack, because
# a frame is finished JSON and passes through it as bytes.
Ring = tuple[int, int | None, int, int, bytes]
pack_rings: Callable[[list[Ring]], bytes] = msgspec.msgpack.Encoder().encode
unpack_rings: Callable[[bytes], list[Ring]] = msgspec.msgpack.Decoder(list[Ring]).decode
