"""What processes tell one another through the broker. Pure."""

from collections.abc import Callable

import msgspec

# What the broker carries for one event: room, seq (None: never stored), kind, user, frame. MessagePack, because
# a frame is finished JSON and passes through it as bytes.
Notification = tuple[int, int | None, int, int, bytes]
encode_notifications: Callable[[list[Notification]], bytes] = msgspec.msgpack.Encoder().encode
decode_notifications: Callable[[bytes], list[Notification]] = msgspec.msgpack.Decoder(list[Notification]).decode
