"""chat/eventlog/notifier.py: this process first, then the others that follow the rooms."""

import pytest

from chat.eventlog import notifier as module
from chat.eventlog.event import event_notification
from chat.eventlog.notifier import Notifier
from chat.protocol.frames import FrameType
from chat.protocol.notifications import Notification, decode_notifications, encode_notifications
from tests.support.recording_broker import RecordingBroker
from tests.support.sample_events import ALICE, line, membership

LINE = event_notification(line(7, 1))


@pytest.fixture
def broker() -> RecordingBroker:
    return RecordingBroker()


def test_a_notification_is_delivered_here_and_published_once(broker: RecordingBroker) -> None:
    heard: list[Notification] = []
    notifier = Notifier(broker)
    notifier.subscribe(heard.append)
    notifier.notify([LINE])
    assert heard == [LINE]
    assert [decode_notifications(body) for body in broker.published] == [[LINE]]


def test_what_another_process_has_published_is_delivered_here_and_not_published_again(broker: RecordingBroker) -> None:
    heard: list[Notification] = []
    Notifier(broker).subscribe(heard.append)
    broker.receive(encode_notifications([LINE]))
    assert heard == [LINE]
    assert broker.published == []


def test_a_fault_in_the_delivery_here_keeps_nothing_from_the_others(
    broker: RecordingBroker, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(notification: Notification) -> None:
        raise ValueError("a fault")

    notifier = Notifier(broker)
    notifier.subscribe(fails)
    notifier.notify([LINE])
    assert len(broker.published) == 1
    assert "the poll repairs it" in caplog.text


def rooms(count: int) -> list[Notification]:
    return [event_notification(line(room, 1)) for room in range(1, count + 1)]


@pytest.mark.parametrize(
    ("notifications", "topics"),
    [
        ([LINE], {7}),
        ([event_notification(line(7 + module.TOPICS, 1))], {7}),
        (rooms(3), {1, 2, 3}),
        (rooms(module.MAX_TOPICS + 1), set()),
        ([LINE, event_notification(membership(8, 1, ALICE, "joined"))], set()),
        ([Notification(7, None, FrameType.MESSAGE, b"{}")], set()),
    ],
    ids=["one room", "a room beyond the topics", "rooms", "many rooms", "a membership", "without a number"],
)
def test_what_the_poll_can_repair_goes_to_the_followers_of_its_rooms_and_the_rest_to_all(
    broker: RecordingBroker, notifications: list[Notification], topics: set[int]
) -> None:
    Notifier(broker).notify(notifications)
    assert broker.topics == topics
