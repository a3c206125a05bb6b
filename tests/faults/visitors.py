"""Who comes and goes while things break, and what he is told of it and hears."""

import asyncio
from typing import Any

import aiohttp

from tests.faults.crowd import ON_PURPOSE, PATIENCE_S, Client, frames_of, hang_up, text_of
from tests.faults.history import Change, Entry, Outcome, Visit


class Visitor(Client):
    """Joins and leaves his rooms over REST, about `per_s` times a second, on either server; what nobody knows he tries
    again. Now and then he asks for what is so already.
    """

    def __init__(self, *args: Any, rooms: list[int], per_s: float) -> None:
        super().__init__(*args)
        self.rooms, self.per_s = rooms, per_s
        self.changes: list[Change] = []
        self.quiet = False  # nothing new any more
        self._inside: set[int] = set()
        self._again: tuple[int, str] | None = None

    @property
    def settled(self) -> bool:
        return self._again is None

    async def once(self) -> None:
        while True:
            await asyncio.sleep(self.random.uniform(0.5, 1.5) / self.per_s)
            if self._again:
                await self._change(*self._again)
            elif not self.quiet:
                room = self.random.choice(self.rooms)
                leaves = (room in self._inside) != (self.random.random() < ON_PURPOSE)
                await self._change(room, "left" if leaves else "joined")

    async def _change(self, room: int, action: str) -> None:
        change = Change(room, self.name, action, Outcome.UNDECIDED)
        self.changes.append(change)
        again, self._again = self._again, (room, action)
        url = f"{self.random.choice(self.servers).url}/v1/chat/rooms/{room}/members/me"
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        method = "PUT" if action == "joined" else "DELETE"
        async with self.http.request(method, url, headers=self.headers, timeout=timeout) as response:
            code = "" if response.status == 204 else (await response.json())["error"]["code"]
        if not code:
            change.outcome, self._again = Outcome.ACKED, None
            (self._inside.add if action == "joined" else self._inside.discard)(room)
            self.beat()
        elif code in ("unavailable", "busy"):
            change.outcome, self._again = Outcome.REFUSED, again
        elif code != "unknown":
            self.odd.append(f"{self.name} could not have {action}: {code}")


class SocketVisitor(Visitor):
    """… and listens over chat.v2: where he is a member already he resumes, the rest has to come by itself."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.visits: list[Visit] = []
        self._here: dict[int, Visit] = {}  # of this websocket
        self._resuming: dict[int, tuple[int, list[Entry]]] = {}  # from which number; what has come since
        self._connected = False

    async def run(self) -> None:
        await asyncio.gather(self.forever(self.once), self.forever(self.listen))

    def present(self) -> list[Visit]:
        """What each room's visit should be like in the end: where there is none, an empty one. None at all: he is
        not connected, or a resume is under way."""
        if not self._connected or self._resuming:
            return []
        return [self._here.get(room) or Visit(self.name, room) for room in self.rooms]

    async def listen(self) -> None:
        try:
            async with self.connect() as ws:
                async for frame in frames_of(ws):
                    await self._hear(ws, frame)
        finally:
            self._connected = False
            self._here.clear()
            self._resuming.clear()

    async def _hear(self, ws: aiohttp.ClientWebSocketResponse, frame: dict[str, Any]) -> None:
        room = frame.get("chatroomId", 0)
        if frame["type"] == 10:
            for listed in frame["rooms"]:
                if (room := listed["chatroomId"]) in self.rooms:
                    after = max(0, listed["seq"] - self.random.choice([0, 0, 10, 1000]))
                    self._resuming[room] = after, []
                    await ws.send_json({"type": 11, "chatroomId": room, "after": after})
            self._connected = True
        elif frame["type"] == 14 and frame["code"] == "not_found" and room in self._resuming:
            del self._resuming[room]  # he has left meanwhile; how much of it was replayed is not told
            self._here.pop(room, None)
        elif frame["type"] == 14:
            await hang_up(ws)
        elif frame["type"] == 11:
            self._resumed(room, frame)
        elif "seq" in frame and room in self._resuming:
            self._resuming[room][1].append((frame["seq"], text_of(frame)))
        elif "seq" in frame and room in self.rooms:
            self._heard(room, (frame["seq"], text_of(frame)))

    def _heard(self, room: int, entry: Entry) -> None:
        """Live: of the visit that there is, unless a new one begins with this."""
        visit = self._here.get(room)
        if visit is None or (entry[1] == f"*joined {self.name}" and visit.told):
            visit = self._begin(Visit(self.name, room))
        visit.entries.append(entry)

    def _resumed(self, room: int, verdict: dict[str, Any]) -> None:
        """What came before the replay was live: he had left and joined since the hello."""
        after, entries = self._resuming.pop(room)
        replayed = max(0, (verdict["to"] if verdict["complete"] else verdict["from"] - 1) - after)
        start = len(entries) - replayed
        for entry in entries[:start]:
            self._heard(room, entry)
        self._begin(Visit(self.name, room, after, entries[start:], live=replayed))
        if not verdict["complete"]:
            self._begin(Visit(self.name, room, verdict["to"]))

    def _begin(self, visit: Visit) -> Visit:
        self.visits.append(visit)
        self._here[visit.room] = visit
        return visit


async def read_members(http: aiohttp.ClientSession, url: str, headers: dict[str, str], room: int) -> set[str]:
    """The names of the members of a room: at most a thousand."""
    timeout = aiohttp.ClientTimeout(total=10)
    address = f"{url}/v1/chat/rooms/{room}/members?limit=1000"
    async with http.get(address, headers=headers, timeout=timeout) as response:
        response.raise_for_status()
        return {member["username"] for member in await response.json()}
