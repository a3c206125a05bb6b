"""Which broker: the one place that knows both."""

from chat.amqp import AmqpBroker
from chat.broker import Broker
from chat.local import LocalBroker


def make_broker(url: str, *, prefix: str, durable: bool) -> Broker:
    """The broker that a URL names. `prefix` stands before each name, `durable` is for queues made here."""
    if url.startswith("local:"):
        return LocalBroker()
    return AmqpBroker(url, prefix=prefix, durable=durable)
