"""The clients that join and leave rooms during a fault run, and what they are answered and hear."""

import asyncio
from typing import Any

import aiohttp

from tests.faults.checker import Change, Entry, Outcome, Visit
from tests.faults.workload import ON_PURPOSE, PATIENCE_S, Client, frames_of, hang_up, text_of


class MembershipWriter(Client):
    """Joins and leaves its rooms over REST, about `per_s` times a second, on either server.

    It repeats a change of unknown outcome. Now and then it asks for a change that has been made already.
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


class MembershipObserver(MembershipWriter):
    """A membership writer that also listens over chat.v2.

    It resumes the rooms of which it is a member already. The others have to come by themselves.
    """

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.visits: list[Visit] = []
        self._here: dict[int, Visit] = {}  # of this websocket
        self._resuming: dict[int, tuple[int, list[Entry]]] = {}  # from which number; what has come since
        self._connected = False

    async def run(self) -> None:
        await asyncio.gather(self.forever(self.once), self.forever(self.listen))

    def present(self) -> list[Visit]:
        """The current visit of each room, an empty one where there is none.

        The list is empty while the client is not connected, or while a resume is in progress.
        """
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
            del self._resuming[room]  # the user has left meanwhile; the server does not say how much was replayed
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
        """Add a live entry to the current visit, or begin a new visit with it."""
        visit = self._here.get(room)
        if visit is None or (entry[1] == f"*joined {self.name}" and visit.has_left):
            visit = self._begin(Visit(self.name, room))
        visit.entries.append(entry)

    def _resumed(self, room: int, resumed: dict[str, Any]) -> None:
        """Begin the resumed visit. Earlier entries were live: the user had left and joined since the hello."""
        after, entries = self._resuming.pop(room)
        replayed = max(0, (resumed["to"] if resumed["complete"] else resumed["from"] - 1) - after)
        start = len(entries) - replayed
        for entry in entries[:start]:
            self._heard(room, entry)
        self._begin(Visit(self.name, room, after, entries[start:], live=replayed))
        if not resumed["complete"]:
            self._begin(Visit(self.name, room, resumed["to"]))

    def _begin(self, visit: Visit) -> Visit:
        self.visits.append(visit)
        self._here[visit.room] = visit
        return visit


async def read_members(http: aiohttp.ClientSession, url: str, headers: dict[str, str], room: int) -> set[str]:
    """The names of the members of a room, up to a thousand."""
    timeout = aiohttp.ClientTimeout(total=10)
    address = f"{url}/v1/chat/rooms/{room}/members?limit=1000"
    async with http.get(address, headers=headers, timeout=timeout) as response:
        response.raise_for_status()
        return {member["username"] for member in await response.json()}
