"""Which broker: the one place that knows both."""

from chat.broker.base import Broker
from chat.broker.memory import LocalBroker
from chat.broker.rabbitmq import AmqpBroker


def make_broker(url: str, *, prefix: str, durable: bool) -> Broker:
    """The broker that a URL names. `prefix` stands before each name, `durable` is for queues made here."""
    if url.startswith("local:"):
        return LocalBroker()
    return AmqpBroker(url, prefix=prefix, durable=durable)
