"""Two processes of the operating system, side by side on one broker and one database."""

import asyncio
import contextlib
import random
import signal
from collections.abc import AsyncIterator

import aiohttp
import pytest

from chat.config import Settings
from devtools import schema
from tests.support.client import GENERAL, Chat, Person, WebsocketClient
from tests.support.names import unique
from tests.support.processes import free_port
from tests.support.server import process, serving
from tests.support.settings import settings_for
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(120)


@contextlib.asynccontextmanager
async def two(settings: Settings) -> AsyncIterator[tuple[Chat, Chat]]:
    async with (
        process("serve", settings) as first,
        process("serve", settings) as second,
        first.client() as here,
        second.client() as there,
    ):
        yield here, there


@pytest.fixture(scope="module")
async def both(database_url: str) -> AsyncIterator[tuple[Chat, Chat]]:
    settings = settings_for(database_url)
    if settings.uses_memory_broker:
        pytest.skip("AMQP_URL=memory: is for one process")
    async with two(settings) as pair:
        yield pair


async def live(person: Person, chat: Chat, room: int) -> WebsocketClient:
    client = await person.connects(chat=chat)
    await client.resume(room)
    return client


async def test_a_busy_room_has_one_order_for_all(both: tuple[Chat, Chat]) -> None:
    """Writers and readers of both processes in the same room, all at once."""
    writers, each = 16, 40
    owner = await both[0].sign_up("owner")
    room = await owner.creates()
    users = [await both[0].sign_up(f"writer{number}") for number in range(writers)]
    await asyncio.gather(*(person.joins(room) for person in users))
    clients = [await live(person, both[number % 2], room) for number, person in enumerate(users)]
    plain = [await person.connects(v2=False, chat=both[number % 2]) for number, person in enumerate(users[:4])]

    async def write(client: WebsocketClient) -> None:
        for number in range(each):
            await client.says(
                f"{client.person.username} {number}", room, requestId=f"{client.person.username}-{number}"
            )

    async def post(person: Person, chat: Chat) -> None:
        for number in range(each):
            body = {"chatmessage": f"rest {person.username} {number}"}
            await chat.asks("POST", f"/v1/chat/rooms/{room}/messages", body, 201, headers=person.headers)

    await asyncio.gather(
        *map(write, clients), *(post(person, both[number % 2]) for number, person in enumerate(users[:4]))
    )
    total = 1 + writers + writers * each + 4 * each
    log = await owner.events(room)
    assert [event["seq"] for event in log] == list(range(1, total + 1))
    messages = [event for event in log if event["type"] == 1]
    assert [message["messageNo"] for message in messages] == list(range(1, len(messages) + 1))
    for client in clients:
        await eventually(lambda client: client.seqs(room)[-1:] == [total], client)
        heard = [frame for frame in client.heard if frame.get("chatroomId") == room and frame["type"] in (1, 5, 6)]
        assert heard == log
        acks = {frame["requestId"]: frame["seq"] for frame in client.heard if frame["type"] == 13}
        mine = {event["requestId"]: event["seq"] for event in log if event.get("requestId") in acks}
        assert len(acks) == each and acks == mine
    for client in plain:
        await eventually(lambda client: client.heard[-1].get("seq") == messages[-1]["seq"], client)
        assert [frame for frame in client.heard if frame["type"] == 1] == messages
    # Each author's messages stand in the order in which they were sent.
    for client in clients:
        own = [
            event["chatmessage"] for event in messages if event["chatmessage"].startswith(client.person.username + " ")
        ]
        assert own == [f"{client.person.username} {number}" for number in range(each)]


async def test_sixty_four_writers_in_twenty_rooms_join_and_leave(both: tuple[Chat, Chat]) -> None:
    """Dense numbers, no deadlock, one order for all, and no message of a user who has left."""
    rooms_count, writers, acts = 20, 64, 12
    choose = random.Random(4)
    owner = await both[0].sign_up("owner")
    rooms = [await owner.creates() for _ in range(rooms_count)]
    users = [await both[0].sign_up("writer") for _ in range(writers)]
    observers = []
    for chat in both:
        watcher = await chat.sign_up("watcher")
        client = await watcher.connects()
        for room in rooms:
            await client.resume(room)
        observers.append(client)
    plans = [
        [(choose.choice(rooms), choose.choice(["post", "post", "post", "join", "leave"])) for _ in range(acts)]
        for _ in users
    ]

    async def act(number: int, person: Person) -> int:
        posted = 0
        for step, (room, action) in enumerate(plans[number]):
            chat = both[(number + step) % 2]
            path = f"/v1/chat/rooms/{room}"
            if action == "post":
                body = {"chatmessage": f"{person.id} {step}", "requestId": f"act-{person.id}-{step}"}
                await chat.asks("POST", f"{path}/messages", body, 201, headers=person.headers)
                posted += 1
            else:
                method = "PUT" if action == "join" else "DELETE"
                await chat.asks(method, f"{path}/members/me", status=204, headers=person.headers)
        return posted

    posted = sum(await asyncio.gather(*(act(number, person) for number, person in enumerate(users))))
    logs = {room: await owner.events(room) for room in rooms}
    assert sum(event["type"] == 1 for log in logs.values() for event in log) == posted
    for room, log in logs.items():
        assert [event["seq"] for event in log] == list(range(1, len(log) + 1))
        inside = {owner.id}
        for event in log:
            if event["type"] == 5:
                assert (event["userId"] in inside) == (event["action"] == "left")
                (inside.add if event["action"] == "joined" else inside.remove)(event["userId"])
            elif event["type"] == 1:
                assert event["userId"] in inside, f"{event} by a user who is not in the room"
        for client in observers:
            await eventually(lambda client, room, last: client.seqs(room)[-1:] == [last], client, room, len(log))
            seen = [frame for frame in client.heard if frame.get("chatroomId") == room and frame["type"] in (1, 5, 6)]
            assert seen == log


async def test_a_join_on_one_process_reaches_the_other(both: tuple[Chat, Chat]) -> None:
    here, there = both
    alice, bob = await here.sign_up("alice"), await here.sign_up("bob")
    room = await alice.creates()
    clients = [await bob.connects(chat=there), await bob.connects(chat=there, v2=False)]
    await bob.joins(room)
    await alice.posts("welcome", room)
    for client in clients:
        await client.hears("welcome")
    await bob.leaves(room)
    await alice.posts("after the leave", room)
    mark = unique("mark")
    await alice.posts(mark)
    await clients[1].hears(mark)
    for client in clients:
        assert not [frame for frame in client.heard if frame.get("chatmessage") == "after the leave"]


async def test_the_same_write_on_both_processes_is_one_event(both: tuple[Chat, Chat]) -> None:
    alice = await both[0].sign_up("alice")
    room = await alice.creates()
    path = f"/v1/chat/rooms/{room}/messages"
    for number in range(20):
        body = {"chatmessage": "once", "requestId": f"both-{number}-{room}"}
        answers = await asyncio.gather(
            *(chat.asks("POST", path, body, 201, headers=alice.headers) for chat in both for _ in range(2))
        )
        assert sorted(answer.pop("duplicate") for answer in answers) == [False, True, True, True]
        assert all(answer == answers[0] for answer in answers)
    assert len(await alice.events(room)) == 21


@pytest.mark.slow
async def test_without_the_broker_events_reach_the_other_process(database_url: str) -> None:
    """Without a broker from the start, the poll brings messages, joins and leaves."""
    settings = settings_for(database_url, amqp_url=f"amqp://guest:guest@127.0.0.1:{free_port()}/")
    async with two(settings) as (here, there):
        assert (await there.asks("GET", "/health/ready"))["status"] == "degraded"
        alice, bob = await here.sign_up("alice"), await here.sign_up("bob")
        room, other = await alice.creates(), await alice.creates()
        client = await live(alice, there, room)
        plain = await bob.connects(chat=there, v2=False)
        await alice.posts("by the poll", room)
        await client.hears("by the poll")
        await bob.joins(other)
        await alice.posts("since you joined", other)
        await plain.hears("since you joined")
        await bob.leaves(other)
        await client.says("live", room, requestId="12345678")
        await client.expect(type=13)
        await client.hears("live")
        await client.says("/stock=AAPL.US", room, requestId="command-1")
        await client.errs("unavailable", requestId="command-1")
        assert client.seqs(room) == [1, 2, 3]


@pytest.mark.slow
async def test_a_process_needs_neither_broker_nor_poll_for_its_own_connections(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages, joins, leaves and read markers are delivered here as soon as they are committed."""
    monkeypatch.setattr("chat.realtime.relay.POLL_INTERVAL_S", 3600.0)
    settings = settings_for(database_url, amqp_url=f"amqp://guest:guest@127.0.0.1:{free_port()}/")
    async with serving(settings) as chat:
        alice, bob = await chat.sign_up("alice"), await chat.sign_up("bob")
        room = await alice.creates()
        client, second, plain = await live(alice, chat, room), await alice.connects(), await bob.connects(v2=False)
        await bob.joins(room)
        await client.expect(type=5, action="joined", userId=bob.id)
        await client.says("live", room, requestId="12345678")
        await plain.hears("live")
        await client.send({"type": 17, "chatroomId": room, "messageNo": 1})
        await second.expect(type=17, chatroomId=room, messageNo=1)
        await bob.leaves(room)
        await client.expect(type=5, action="left", userId=bob.id)


@pytest.mark.slow
async def test_a_restart_closes_with_its_code_and_loses_nothing_acked(database_url: str) -> None:
    """SIGTERM while a client writes: what is in flight is answered, sockets get 1012, exit 0, within 10 s."""
    settings = settings_for(database_url)
    port = free_port()
    async with process("serve", settings, port=port) as server, server.client() as chat:
        alice = await chat.sign_up("alice")
        room = await alice.creates()
        clients = [await live(alice, chat, room) for _ in range(5)]
        sent = 0

        async def write() -> None:
            nonlocal sent
            with contextlib.suppress(ConnectionError, aiohttp.ClientError):
                while True:
                    await clients[0].says(f"number {sent}", room, requestId=f"write-{sent:05}")
                    sent += 1
                    if sent % 50 == 0:
                        await asyncio.sleep(0.001)

        writing = asyncio.create_task(write())
        await clients[0].expect(type=13)
        server.signal(signal.SIGTERM)
        codes = await asyncio.gather(*(client.closed() for client in clients))
        await writing
        assert codes == [1012] * 5
        assert await server.ended(10) == 0
    acked = {frame["requestId"]: frame["seq"] for frame in clients[0].heard if frame["type"] == 13}
    refused = {frame.get("requestId") for frame in clients[0].heard if frame["type"] == 14}
    assert acked
    async with process("serve", settings, port=port) as server, server.client() as chat:
        again = Person(chat, {"token": alice.token, "user": vars(alice)})
        stored = {event["requestId"]: event["seq"] for event in await again.events(room) if event["type"] == 1}
        assert acked.items() <= stored.items()
        assert not refused & stored.keys()
        client = await again.connects()
        resumed = await client.resume(room, after=clients[1].seqs(room)[-1])
        assert resumed["complete"]
        assert clients[1].seqs(room) + client.seqs(room) == list(range(1, len(stored) + 2))


@pytest.mark.slow
async def test_a_reset_closes_the_websockets(database_url: str) -> None:
    """After a reset or a restore: 1012, and tokens of the old epoch are refused."""
    with schema.scratch(database_url) as url:
        schema.reset(url)
        async with process("serve", settings_for(url)) as server, server.client() as chat:
            alice = await chat.sign_up("alice")
            await alice.posts("soon forgotten")
            client = await live(alice, chat, GENERAL)
            await asyncio.to_thread(schema.reset, url)
            assert await client.closed() == 1012
            await alice.asks("GET", "/v1/users/me", status=401)
            bob = await chat.sign_up("bob")
            assert (await bob.posts("a new beginning"))["seq"] == 2  # after Bob's own join
