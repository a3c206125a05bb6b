"""From the log to the hub, by three ways that may race: the doorbell, the repair and the sweep.

    doorbell   a ring of the broker carries the events themselves: a millisecond
    repair     a gap that does not close by itself is read from PostgreSQL, one reader a room
    sweep      twice a second, broker or not: which rooms are ahead of the hub, who has joined one elsewhere

The hub drops what it has sent already, so none of them needs to know of the others.
"""

import asyncio
import logging

from chat.auth.tokens import Tokens
from chat.broker.base import Broker
from chat.db.errors import DatabaseError
from chat.db.pool import Database
from chat.errors import NotFound, Unavailable
from chat.eventlog.event import event_frame
from chat.eventlog.reader import History
from chat.protocol.close_codes import CloseCode
from chat.protocol.notifications import decode_notifications
from chat.realtime.hub import Hub

log = logging.getLogger(__name__)

SWEEP_S = 0.5
RINGING_S = 0.03  # a room that is ahead has mostly been rung already, and the ring is on its way
REPAIR_ROWS = 500
LOOK_BACK_S = 30.0  # longer than any transaction of ours lasts: a join is seen however late it commits


class Relay:
    """`db` should have connections of its own: two, for the sweep and a repair."""

    def __init__(self, db: Database, broker: Broker, hub: Hub, tokens: Tokens) -> None:
        self._db, self._hub, self._tokens = db, hub, tokens
        self._history = History(db)
        self._repairs: dict[int, asyncio.Task[None]] = {}
        self._turn = asyncio.Lock()  # one repair at a time: the sweep keeps a connection to itself
        self._down = False
        self._swept = asyncio.get_running_loop().time()
        broker.subscribe(self.hear)
        hub.on_gap = self.repair

    def hear(self, body: bytes) -> None:
        """Takes a ring."""
        for ring in decode_notifications(body):
            self._hub.deliver(*ring)

    def repair(self, room_id: int) -> "asyncio.Task[None]":
        """Reads what the hub lacks in a room; whoever asks meanwhile gets the same task."""
        task = self._repairs.get(room_id)
        if task is None:
            task = self._repairs[room_id] = asyncio.create_task(self._repair(room_id))
            task.add_done_callback(lambda _: self._repairs.pop(room_id, None))
        return task

    async def _repair(self, room_id: int) -> None:
        try:
            while (sent := self._hub.sent(room_id)) is not None:
                async with self._turn:
                    last, events = await self._history.events(None, room_id, after=sent, most=REPAIR_ROWS)
                for event in events:
                    self._hub.deliver(room_id, event.seq, event.kind, event.user_id, event_frame(event))
                if not events or events[-1].seq >= last:
                    return
        except (Unavailable, DatabaseError, NotFound) as error:
            log.info("room %d could not be read (%s); the sweep comes again", room_id, error.code)

    async def run(self) -> None:
        """Sweeps for ever."""
        while True:
            try:
                await self._sweep()
                if self._down:
                    log.info("PostgreSQL is there again")
                self._down = False
            except DatabaseError as error:
                if not error.is_outage:
                    log.error("a sweep failed: %s", error.text)  # the statement is in the log already
                elif not self._down:
                    log.warning("PostgreSQL does not answer: %s", error.text)
                self._down = self._down or error.is_outage
            except Exception:
                log.exception("a sweep failed")
            await asyncio.sleep(SWEEP_S)

    async def _sweep(self) -> None:
        epoch = await self._db.value("epoch/current")
        if epoch is not None and epoch != self._tokens.epoch:
            log.warning("the numbers have begun anew; everybody has to log in again")
            self._tokens.epoch = epoch
            self._restart(self._hub.positions()[0])
            for socket in self._hub.sockets():
                socket.close(CloseCode.SERVICE_RESTART)
            return
        room_ids, seqs = self._hub.positions()
        if room_ids:
            thought = dict(zip(room_ids, seqs, strict=True))
            rows = await self._db.all("rooms/behind", room_ids=room_ids, seqs=seqs)
            back = [row.room_id for row in rows if (row.last_seq or 0) < thought[row.room_id]]
            if back:
                log.warning("the numbers went back in rooms %s", back)
                self._restart(back)
            ahead = [row for row in rows if (row.last_seq or 0) > thought[row.room_id]]
            if ahead:
                await asyncio.sleep(RINGING_S)
                for row in ahead:
                    sent = self._hub.sent(row.room_id)
                    if sent is not None and sent < row.last_seq:
                        self.repair(row.room_id)
        if user_ids := self._hub.users():
            await self._find_members(user_ids)
        self._swept = asyncio.get_running_loop().time()

    async def _find_members(self, user_ids: list[int]) -> None:
        """Reads the joins of users who are connected here, of rooms that the hub has not heard of."""
        seconds = LOOK_BACK_S + asyncio.get_running_loop().time() - self._swept
        rows = await self._db.all("members/new", user_ids=user_ids, seconds=seconds)
        for user_id, room_id, joined_seq in rows:
            sockets = self._hub.missing(user_id, room_id, joined_seq)
            sent = self._hub.sent(room_id)
            if sockets and sent is None:
                _, events = await self._history.events(None, room_id, after=joined_seq - 1, most=REPAIR_ROWS)
                for event in events:
                    self._hub.deliver(room_id, event.seq, event.kind, event.user_id, event_frame(event))
            elif sent is not None and sent >= joined_seq:  # somebody else began there after a join that was never heard
                for socket in sockets:
                    socket.close(CloseCode.SERVICE_RESTART)

    def _restart(self, room_ids: list[int]) -> None:
        for room_id in room_ids:
            for socket in self._hub.forget(room_id):
                socket.close(CloseCode.SERVICE_RESTART)
