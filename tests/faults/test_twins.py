"""A write and its repeat: held open by a barrier, on another process, over another interface, or much later."""

import asyncio
import time
from collections.abc import AsyncIterator

import psycopg2
import pytest

from tests.faults.cluster import LONG, Services, two_servers
from tests.support.client import Chat, Person
from tests.support.names import unique
from tests.support.waiting import eventually


class Barrier:
    """Every insert into the log of one room waits until it is opened: PostgreSQL itself holds the transaction."""

    def __init__(self, services: Services) -> None:
        self._url = services.postgres.url

    def close(self, room: int) -> None:
        self._connection = psycopg2.connect(self._url)
        self._connection.autocommit = True
        with self._connection.cursor() as cursor:
            cursor.execute(
                """
                CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN
                    WHILE NOT pg_try_advisory_xact_lock_shared(17) LOOP PERFORM pg_sleep(0.01); END LOOP;
                    RETURN NEW;
                END $$;
                CREATE TRIGGER barrier BEFORE INSERT ON events FOR EACH ROW
                WHEN (NEW.room_id = """
                + str(room)
                + """) EXECUTE FUNCTION wait();
                SELECT pg_advisory_lock(17)
                """
            )

    def is_reached(self) -> bool:
        """Whether an insert waits at the barrier."""
        return self._any_backend("wait_event = 'PgSleep'")

    def is_waited_for(self) -> bool:
        """Whether another write waits for the lock of the room, which the insert at the barrier has."""
        return self._any_backend("wait_event_type = 'Lock'")

    def _any_backend(self, condition: str) -> bool:
        with self._connection.cursor() as cursor:
            cursor.execute(f"SELECT FROM pg_stat_activity WHERE {condition}")
            return cursor.rowcount > 0

    def open(self) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock_all()")

    def remove(self) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER barrier ON events; DROP FUNCTION wait()")
        self._connection.close()


@pytest.fixture
async def barrier(services: Services) -> AsyncIterator[Barrier]:
    made = Barrier(services)
    yield made
    await asyncio.to_thread(made.open)
    await asyncio.to_thread(made.remove)


def at(person: Person, chat: Chat) -> Person:
    user = {"id": person.id, "username": person.username, "email": person.email}
    return Person(chat, {"token": person.token, "user": user})


async def test_a_repeat_waits_for_the_attempt_in_flight_on_the_other_process(
    here: Chat, there: Chat, barrier: Barrier
) -> None:
    alice = await here.sign_up("alice")
    room = await alice.creates()
    request_id = unique("repeat")
    await asyncio.to_thread(barrier.close, room)
    first = asyncio.create_task(alice.posts("once", room, requestId=request_id))
    await eventually(barrier.is_reached)
    second = asyncio.create_task(at(alice, there).posts("once", room, requestId=request_id))
    await eventually(barrier.is_waited_for)
    await asyncio.to_thread(barrier.open)
    one, other = await asyncio.gather(first, second)
    assert (one["duplicate"], other["duplicate"]) == (False, True)
    assert one["seq"] == other["seq"] == 2
    assert [event.get("chatmessage") for event in await alice.events(room)] == [None, "once"]


@pytest.mark.timing
async def test_a_locked_room_delays_no_other_room(here: Chat, there: Chat, barrier: Barrier) -> None:
    alice, bob = await here.sign_up("alice"), await here.sign_up("bob")
    locked = await alice.creates()
    others = [await bob.creates() for _ in range(5)]
    await asyncio.to_thread(barrier.close, locked)
    under_way = asyncio.create_task(at(alice, there).posts("first", locked))
    await eventually(barrier.is_reached)
    refused = asyncio.create_task(alice.posts("behind it", locked, status=503))
    longest = []
    for number in range(20):
        started = time.monotonic()
        await asyncio.gather(*(bob.posts(f"free {number}", room) for room in others))
        longest.append(time.monotonic() - started)
    assert sorted(longest)[-2] < 0.4, "more than the first batch had to wait"
    assert max(longest) < 1.5
    assert (await refused)["error"]["code"] == "busy"
    await asyncio.to_thread(barrier.open)
    await under_way
    await alice.posts("free again", locked)
    assert [event.get("chatmessage") for event in await alice.events(locked)] == [None, "first", "free again"]


async def test_a_repeat_over_any_interface_is_the_same_event(here: Chat, there: Chat) -> None:
    alice = await here.sign_up("alice")
    room, another = await alice.creates(), await alice.creates()
    request_id = unique("repeat")
    first = await alice.posts("once", room, requestId=request_id)
    clients = [await alice.connects(), await at(alice, there).connects()]
    for client in clients:
        for _ in range(2):
            await client.says("once", room, requestId=request_id)
        for _ in range(2):
            ack = await client.expect(type=13, requestId=request_id)
            assert (ack["seq"], ack["duplicate"], ack["createdAt"]) == (first["seq"], True, first["createdAt"])
    again = await at(alice, there).posts("once", room, requestId=request_id)
    assert again["seq"] == first["seq"] and again["duplicate"]
    assert not (await alice.posts("once", another, requestId=request_id))["duplicate"]
    reused = await alice.posts("twice", room, requestId=request_id, status=409)
    assert reused["error"]["code"] == "request_id_reused"


async def test_a_repeat_after_weeks_is_the_same_event(here: Chat, there: Chat, services: Services) -> None:
    alice = await here.sign_up("alice")
    room = await alice.creates()
    request_id = unique("repeat")
    first = await alice.posts("once", room, requestId=request_id)
    await asyncio.to_thread(services.administer, "UPDATE events SET created_at = created_at - interval '40 days'")
    again = await at(alice, there).posts("once", room, requestId=request_id)
    assert (again["seq"], again["duplicate"]) == (first["seq"], True)


@pytest.mark.skipif(not LONG, reason="LONG=1")
async def test_a_join_whose_first_attempt_is_still_in_the_network_ends_with_the_leave(services: Services) -> None:
    """The first attempt hangs in the network, the second is acked, the user leaves. The first must not take effect."""
    async with two_servers(services) as (one, two), Chat(one.url) as here, Chat(two.url) as there:
        alice, bob = await there.sign_up("alice"), await there.sign_up("bob")
        room = await alice.creates()
        for _ in range(3):  # so that the next join is one message to PostgreSQL
            await at(bob, here).joins(await alice.creates())
        one.to_postgres.hold()
        joining = asyncio.create_task(at(bob, here).joins(room))
        proxy = one.to_postgres
        await eventually(lambda: any(b"members/join" in data for _, data in proxy.held))
        port = next(port for port, data in proxy.held if b"members/join" in data)
        stranded = proxy.strand()
        await joining
        await bob.leaves(room)
        stranded.set()
        await eventually(lambda: port not in services.client_ports())  # the first attempt has ended
        log = [event.get("action") for event in await alice.events(room)]
        members = await alice.gets(f"/v1/chat/rooms/{room}/members")
        assert log == ["created", "joined", "left"]
        assert [member["userId"] for member in members] == [alice.id]
