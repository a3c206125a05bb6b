"""Which broker: the one place that knows both."""

from chat.broker.base import Broker
from chat.broker.memory import MemoryBroker
from chat.broker.rabbitmq import RabbitBroker


def make_broker(url: str, *, prefix: str, durable: bool) -> Broker:
    """The broker that a URL names. `prefix` stands before each name, `durable` is for queues declared here."""
    if url.startswith("memory:"):
        return MemoryBroker()
    return RabbitBroker(url, prefix=prefix, durable=durable)
