"""Deliver here, then tell the others: the one way of everything that happens in a room, with a number or without."""

import logging
from collections.abc import Callable, Iterable

from chat.broker.base import Broker
from chat.protocol.notifications import Notification, decode_notifications, encode_notifications

log = logging.getLogger(__name__)

TOPICS = 256  # rooms share them: a process with connections in few rooms hears little of the others
MAX_TOPICS = 32  # of one message


class Notifier:
    """Passes notifications to the subscribers of this process, at once, and of all others, through the broker.

    What the broker loses, the poll of the other processes finds in PostgreSQL.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._subscribers: list[Callable[[Notification], None]] = []
        self._topics: set[int] = set()
        broker.subscribe(lambda body: self._deliver(decode_notifications(body)))

    def subscribe(self, handler: Callable[[Notification], None]) -> None:
        """Call `handler` with every notification, of any process. It is called synchronously."""
        self._subscribers.append(handler)

    def follow(self, room_ids: Iterable[int]) -> None:
        """From soon on, take the notifications of these rooms from other processes, and of few others. Those with
        subjects always come."""
        self._topics = {room_id % TOPICS for room_id in room_ids}
        self._broker.follow(self._topics)

    def follow_also(self, room_id: int) -> None:
        """As `follow`, for one room more."""
        if room_id % TOPICS not in self._topics:
            self._topics.add(room_id % TOPICS)
            self._broker.follow(self._topics)

    def notify(self, notifications: list[Notification]) -> None:
        """Tell what has happened. Never fails: authors are answered whatever becomes of it."""
        try:
            self._deliver(notifications)
        except Exception:
            log.exception("a notification could not be delivered here; the poll repairs it")
        if self._broker.has_listeners():
            self._broker.publish(encode_notifications(notifications), _topics(notifications))

    def _deliver(self, notifications: list[Notification]) -> None:
        for notification in notifications:
            for handler in self._subscribers:
                handler(notification)


def _topics(notifications: list[Notification]) -> set[int]:
    """The topics of the rooms. None, so that every process hears of it, where memberships change, where the poll could
    not repair a loss because there is no number, or where rooms are many."""
    topics = {each.room_id % TOPICS for each in notifications}
    for_all = any(each.subjects or each.seq is None for each in notifications)
    return set() if for_all or len(topics) > MAX_TOPICS else topics
