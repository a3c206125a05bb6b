"""Deliver here, then tell the others: the one way of everything that happens in a room, with a number or without."""

import logging
from collections.abc import Callable

from chat.broker.base import Broker
from chat.protocol.notifications import Notification, decode_notifications, encode_notifications

log = logging.getLogger(__name__)


class Notifier:
    """Passes notifications to the subscribers of this process, at once, and of all others, through the broker.

    What the broker loses, the poll of the other processes finds in PostgreSQL.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._subscribers: list[Callable[[Notification], None]] = []
        broker.subscribe(lambda body: self._deliver(decode_notifications(body)))

    def subscribe(self, handler: Callable[[Notification], None]) -> None:
        """Call `handler` with every notification, of any process. It is called synchronously."""
        self._subscribers.append(handler)

    def notify(self, notifications: list[Notification]) -> None:
        """Tell what has happened. Never fails: authors are answered whatever becomes of it."""
        try:
            self._deliver(notifications)
        except Exception:
            log.exception("a notification could not be delivered here; the poll repairs it")
        self._broker.publish(encode_notifications(notifications))

    def _deliver(self, notifications: list[Notification]) -> None:
        for notification in notifications:
            for handler in self._subscribers:
                handler(notification)
