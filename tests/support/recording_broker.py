"""A broker that keeps what is published, and delivers what the test says."""

from collections.abc import Collection

from chat.broker.base import EventHandler
from chat.broker.memory import MemoryBroker


class RecordingBroker(MemoryBroker):
    """published: what this process would have told the others, in order
    topics: those of the last of it
    """

    def __init__(self) -> None:
        super().__init__()
        self.published: list[bytes] = []
        self.topics: set[int] = set()
        self._handlers: list[EventHandler] = []

    def has_listeners(self) -> bool:
        return True

    def publish(self, body: bytes, topics: Collection[int] = ()) -> None:
        self.published.append(body)
        self.topics = set(topics)

    def subscribe(self, handler: EventHandler) -> None:
        self._handlers.append(handler)

    def receive(self, body: bytes) -> None:
        """Deliver what another process has published."""
        for handler in self._handlers:
            handler(body)
