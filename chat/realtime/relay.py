"""The relay follows the log and passes it to the hub, in three ways that may race.

    notification   the events themselves: at once from this process, a millisecond later from another, by the broker
    gap fill       a gap that does not close by itself is read from PostgreSQL, one reader for each room
    poll           twice a second, broker or not: which rooms are ahead of the hub, who has joined one elsewhere

The hub drops what it has sent already, so none of them needs to know of the others.
"""

import asyncio
import logging
from typing import NamedTuple

from chat.auth.tokens import Tokens
from chat.db.errors import DatabaseError
from chat.db.pool import Database
from chat.errors import NotFound, Unavailable
from chat.eventlog.event import event_notification
from chat.eventlog.notifier import Notifier
from chat.eventlog.reader import EventReader
from chat.protocol.close_codes import CloseCode
from chat.realtime.hub import Hub

log = logging.getLogger(__name__)

POLL_INTERVAL_S = 0.5
ARRIVAL_WAIT_S = 0.03  # give notifications in flight this long to arrive before reading the gap from PostgreSQL
GAP_FILL_ROWS = 500
POLL_ROOMS = 1_000  # rooms that one query compares: the loop takes two milliseconds to write so many down
JOIN_LOOKBACK_S = 30.0  # longer than any transaction of ours lasts: a join is seen however late it commits


class _RoomPosition(NamedTuple):
    room_id: int
    last_seq: int | None


class _Join(NamedTuple):
    user_id: int
    room_id: int
    joined_seq: int


class Relay:
    """`db` should have connections of its own: two, for the poll and a gap fill."""

    def __init__(self, db: Database, notifier: Notifier, hub: Hub, tokens: Tokens) -> None:
        self._db, self._hub, self._tokens = db, hub, tokens
        self._reader = EventReader(db)
        self._gap_fills: dict[int, asyncio.Task[None]] = {}
        self._gap_fill_lock = asyncio.Lock()  # one at a time: the poll keeps a connection to itself
        self._polled_at = asyncio.get_running_loop().time()
        self.database_down = False  # as the last poll found it
        self._notifier = notifier
        notifier.subscribe(hub.deliver)
        hub.on_opened = notifier.follow_also
        hub.on_gap = self.fill_gap

    def fill_gap(self, room_id: int) -> "asyncio.Task[None]":
        """Read what the hub lacks in a room. Callers that come while it is read get the same task."""
        task = self._gap_fills.get(room_id)
        if task is None:
            task = self._gap_fills[room_id] = asyncio.create_task(self._fill_gap(room_id))
            task.add_done_callback(lambda _: self._gap_fills.pop(room_id, None))
        return task

    async def _fill_gap(self, room_id: int) -> None:
        try:
            while (sent := self._hub.last_sent_seq(room_id)) is not None:
                async with self._gap_fill_lock:
                    last, events = await self._reader.events(None, room_id, after=sent, limit=GAP_FILL_ROWS)
                for event in events:
                    self._hub.deliver(event_notification(event))
                if not events or events[-1].seq >= last:
                    return
        except (Unavailable, DatabaseError, NotFound) as error:
            log.info("room %d could not be read (%s); the poll tries again", room_id, error.code)

    async def run(self) -> None:
        """Poll for ever."""
        while True:
            try:
                await self.poll()
                if self.database_down:
                    log.info("PostgreSQL answers again")
                self.database_down = False
            except DatabaseError as error:
                if not error.is_outage:
                    log.error("a poll failed: %s", error.text)  # the statement is in the log already
                elif not self.database_down:
                    log.warning("PostgreSQL does not answer: %s", error.text)
                self.database_down = self.database_down or error.is_outage
            except Exception:
                log.exception("a poll failed")
            await asyncio.sleep(POLL_INTERVAL_S)

    async def poll(self) -> None:
        """Compare this process with PostgreSQL once, and repair what differs."""
        epoch = await self._db.fetch_value("epoch/get", str)
        if epoch is not None and epoch != self._tokens.epoch:
            return self._begin_epoch(epoch)
        await self._find_rooms_out_of_sync()
        await self._find_joins()
        self._polled_at = asyncio.get_running_loop().time()

    def _begin_epoch(self, epoch: str) -> None:
        log.warning("a new epoch has begun; everybody has to log in again")
        self._tokens.epoch = epoch
        self._disconnect_rooms(self._hub.positions()[0])
        for subscriber in self._hub.subscribers():
            subscriber.close(CloseCode.SERVICE_RESTART)

    async def _find_rooms_out_of_sync(self) -> None:
        room_ids, seqs = self._hub.positions()
        self._notifier.follow(room_ids)
        hub_seqs = dict(zip(room_ids, seqs, strict=True))
        rows: list[_RoomPosition] = []
        for first in range(0, len(room_ids), POLL_ROOMS):
            some = slice(first, first + POLL_ROOMS)
            rows += await self._db.fetch_all(
                "rooms/out_of_sync", _RoomPosition, room_ids=room_ids[some], seqs=seqs[some]
            )
        went_back = [row.room_id for row in rows if (row.last_seq or 0) < hub_seqs[row.room_id]]
        if went_back:
            log.warning("the numbers went back in rooms %s", went_back)
            self._disconnect_rooms(went_back)
        ahead = {row.room_id: row.last_seq for row in rows if row.last_seq and row.last_seq > hub_seqs[row.room_id]}
        if ahead:
            await asyncio.sleep(ARRIVAL_WAIT_S)
            for room_id, last_seq in ahead.items():
                sent = self._hub.last_sent_seq(room_id)
                if sent is not None and sent < last_seq:
                    self.fill_gap(room_id)

    async def _find_joins(self) -> None:
        """Find the recent joins of users who are connected here, to rooms that the hub has not heard of."""
        user_ids = self._hub.users()
        if not user_ids:
            return
        seconds = JOIN_LOOKBACK_S + asyncio.get_running_loop().time() - self._polled_at
        rows = await self._db.fetch_all("members/joined_since", _Join, user_ids=user_ids, seconds=seconds)
        for user_id, room_id, joined_seq in rows:
            unaware = self._hub.unaware_subscribers(user_id, room_id, joined_seq)
            sent = self._hub.last_sent_seq(room_id)
            if unaware and sent is None:
                _, events = await self._reader.events(None, room_id, after=joined_seq - 1, limit=GAP_FILL_ROWS)
                for event in events:
                    self._hub.deliver(event_notification(event))
            elif sent is not None and sent >= joined_seq:  # others made the room live here after a join never heard
                for subscriber in unaware:
                    subscriber.close(CloseCode.SERVICE_RESTART)

    def _disconnect_rooms(self, room_ids: list[int]) -> None:
        for room_id in room_ids:
            for subscriber in self._hub.forget(room_id):
                subscriber.close(CloseCode.SERVICE_RESTART)
