"""The sockets of this process, and what each of them has been sent.

For each room with a socket here: the last number sent, and the sockets that are live. All methods are plain
functions: between two ticks of the loop nothing is half done, and no lock is needed.

    the next number      → out, with one websocket header, in one write a socket and tick
    an old number        → dropped: it has been sent
    a number too far     → waits 50 ms for its elders, then `on_gap` has the gap read from PostgreSQL

So whatever delivers (relay, repair, sweep, replay) may do it late, twice or in any order.
"""

import asyncio
from collections.abc import Callable

import msgspec

from chat.protocol.frames import MEMBER, MESSAGE, READ, ROOM, MemberFrame
from chat.realtime.subscriber import Socket
from chat.realtime.websocket_frames import framed

GAP_S = 0.05  # two processes overtake one another in normal running; that is over sooner than this
EARLY = 1_000  # events that a room holds back while it waits for a gap; the rest is read again
_member = msgspec.json.Decoder(MemberFrame).decode


class _Room:
    __slots__ = ("early", "out", "out_v1", "seq", "since", "timer", "v1", "v2")

    def __init__(self, seq: int) -> None:
        self.since = self.seq = seq
        self.v1: set[Socket] = set()
        self.v2: set[Socket] = set()
        self.out: list[bytes] = []  # of this tick, for chat.v2
        self.out_v1: list[bytes] = []  # … for the others: messages only
        self.early: dict[int, tuple[int, int, bytes]] = {}
        self.timer: asyncio.TimerHandle | None = None


def _joined(seq: int, kind: int, frame: bytes) -> bool | None:
    """Whether the event makes its user a member of the room, or (False) ends that; None: neither."""
    if kind == MEMBER:
        return _member(frame).action == "joined"
    return True if kind == ROOM and seq == 1 else None  # a room is born with its owner in it


def _misses(socket: Socket, room_id: int, joined_seq: int) -> bool:
    return (
        socket.known is not None
        and joined_seq > socket.left.get(room_id, 0)
        and room_id not in socket.known
        and room_id not in socket.rooms
        and room_id not in socket.resuming
    )


def _nobody_repairs(room_id: int) -> "asyncio.Future[None]":
    """Stands in until there is a relay: the gap stays."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done.set_result(None)
    return done


class Hub:
    """All sockets and rooms of this process.

    `on_gap(room_id)` starts to read what is missing in a room, and can be awaited; the relay sets it.
    """

    def __init__(self) -> None:
        self.on_gap: Callable[[int], asyncio.Future[None]] = _nobody_repairs
        self._rooms: dict[int, _Room] = {}
        self._users: dict[int, set[Socket]] = {}
        self._waiting: list[_Room] = []  # rooms with something to write at the end of this tick

    # --- who is here ----------------------------------------------------------------------------------

    def connect(self, socket: Socket) -> None:
        """From now on the user's joins, leaves and reads reach this socket."""
        self._users.setdefault(socket.user_id, set()).add(socket)

    def disconnect(self, socket: Socket) -> None:
        """Forgets the socket. Harmless when it is forgotten already."""
        for room_id in list(socket.rooms):
            self.leave(socket, room_id)
        sockets = self._users.get(socket.user_id, set())
        sockets.discard(socket)
        if not sockets:
            self._users.pop(socket.user_id, None)

    def join(self, socket: Socket, room_id: int, seq: int) -> None:
        """Makes the room live for the socket: it gets what comes after `seq`, or after what was sent here last."""
        room = self._rooms.get(room_id)
        if room is None:
            room = self._rooms[room_id] = _Room(seq)
        self._flush_room(room)  # what waits in it is older
        (room.v2 if socket.v2 else room.v1).add(socket)
        socket.rooms.add(room_id)
        socket.resuming.pop(room_id, None)

    def leave(self, socket: Socket, room_id: int) -> None:
        """Ends it. A room without sockets is forgotten."""
        socket.rooms.discard(room_id)
        if room := self._rooms.get(room_id):
            room.v1.discard(socket)
            room.v2.discard(socket)
            if not room.v1 and not room.v2:
                self._forget(room_id)

    def sent(self, room_id: int) -> int | None:
        """The last number sent in a room, or None when no socket here is in it."""
        room = self._rooms.get(room_id)
        return None if room is None else room.seq

    def began_after(self, room_id: int, seq: int) -> bool:
        """Whether the room came here when it was further than that: what was in between did not pass by here."""
        room = self._rooms.get(room_id)
        return room is not None and room.since > seq

    def positions(self) -> tuple[list[int], list[int]]:
        """The rooms here, and the last number sent in each."""
        return list(self._rooms), [room.seq for room in self._rooms.values()]

    def users(self) -> list[int]:
        """Everybody with a socket here."""
        return list(self._users)

    def missing(self, user_id: int, room_id: int, joined_seq: int) -> list[Socket]:
        """The sockets of a member of the room that have not been told that he is one."""
        return [socket for socket in self._users.get(user_id, ()) if _misses(socket, room_id, joined_seq)]

    def sockets(self) -> list[Socket]:
        """Every socket here."""
        return [socket for sockets in self._users.values() for socket in sockets]

    # --- what happens ---------------------------------------------------------------------------------

    def deliver(self, room_id: int, seq: int | None, kind: int, user_id: int, frame: bytes) -> None:
        """Takes an event from wherever. `seq` None: never stored, so it is sent on without counting."""
        if kind == READ:
            return self._tell(user_id, frame)
        room = self._rooms.get(room_id)
        if room is None:
            if kind not in (MEMBER, ROOM) or seq is None or user_id not in self._users:
                return
            room = self._rooms[room_id] = _Room(seq - 1)  # he may have joined or created it from elsewhere
        if seq is None:
            self._write(room, kind, frame)
        elif seq == room.seq + 1:
            self._send(room_id, room, kind, user_id, frame)
            while (early := room.early.pop(room.seq + 1, None)) is not None:
                self._send(room_id, room, *early)
            if not room.early and room.timer is not None:
                room.timer.cancel()
                room.timer = None
        elif seq > room.seq and len(room.early) < EARLY:
            room.early[seq] = (kind, user_id, frame)
            if room.timer is None:
                room.timer = asyncio.get_running_loop().call_later(GAP_S, self._gap, room_id, room)
        if not room.v1 and not room.v2:
            self._forget(room_id)

    def forget(self, room_id: int) -> list[Socket]:
        """Drops a room whose numbers went back; the sockets that were in it, which must begin anew."""
        room = self._rooms.get(room_id)
        if room is None:
            return []
        sockets = [*room.v1, *room.v2]
        self._forget(room_id)
        for socket in sockets:
            socket.rooms.discard(room_id)
        return sockets

    def _forget(self, room_id: int) -> None:
        room = self._rooms.pop(room_id)
        self._flush_room(room)
        if room.timer is not None:
            room.timer.cancel()

    def _gap(self, room_id: int, room: _Room) -> None:
        room.timer = None
        room.early = {seq: event for seq, event in room.early.items() if seq > room.seq}
        if self._rooms.get(room_id) is room and room.early:
            room.timer = asyncio.get_running_loop().call_later(GAP_S * 10, self._gap, room_id, room)
            self.on_gap(room_id)

    def _send(self, room_id: int, room: _Room, kind: int, user_id: int, frame: bytes) -> None:
        room.seq += 1
        joined = _joined(room.seq, kind, frame)
        if joined is None:
            return self._write(room, kind, frame)
        # A join is the first thing that a new member's sockets hear, a leave the last.
        if not joined:
            self._write(room, kind, frame)
            self._flush_room(room)
        for socket in self._users.get(user_id, ()):
            if room_id in socket.resuming:
                socket.resuming[room_id] = not joined
            if socket.known is None:
                socket.changed = True
            elif joined:
                self._let_in(socket, socket.known, room_id, room)
            else:
                self._let_out(socket, socket.known, room_id, room)
        if joined:
            self._write(room, kind, frame)

    def _let_in(self, socket: Socket, known: set[int], room_id: int, room: _Room) -> None:
        if room.seq > socket.left.get(room_id, 0):
            if _misses(socket, room_id, room.seq):
                self.join(socket, room_id, room.seq)
            known.add(room_id)

    def _let_out(self, socket: Socket, known: set[int], room_id: int, room: _Room) -> None:
        known.discard(room_id)
        socket.rooms.discard(room_id)
        room.v1.discard(socket)
        room.v2.discard(socket)
        socket.left[room_id] = room.seq

    def _tell(self, user_id: int, frame: bytes) -> None:
        data = framed(frame)
        for socket in self._users.get(user_id, ()):
            if socket.v2:
                socket.offer(data)

    def _write(self, room: _Room, kind: int, frame: bytes) -> None:
        if not room.out:
            if not self._waiting:
                asyncio.get_running_loop().call_soon(self._flush)
            self._waiting.append(room)
        data = framed(frame)
        room.out.append(data)
        if kind == MESSAGE:
            room.out_v1.append(data)

    def _flush(self) -> None:
        rooms, self._waiting = self._waiting, []
        for room in rooms:
            self._flush_room(room)

    def _flush_room(self, room: _Room) -> None:
        for sockets, frames in ((room.v2, room.out), (room.v1, room.out_v1)):
            if frames and sockets:
                data = frames[0] if len(frames) == 1 else b"".join(frames)
                for socket in sockets:
                    socket.offer(data)
        room.out.clear()
        room.out_v1.clear()
