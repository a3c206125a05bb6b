"""Which broker: the one place that knows both."""

from chat.broker.base import Broker
from chat.broker.memory import MemoryBroker
from chat.broker.rabbitmq import RabbitBroker


def make_broker(url: str, *, prefix: str) -> Broker:
    """The broker that a URL names. `prefix` stands before each name."""
    return MemoryBroker() if url.startswith("memory:") else RabbitBroker(url, prefix=prefix)
