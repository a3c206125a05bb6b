"""A user in ten thousand rooms: the list of rooms, the hello, and how long the event loop is busy with them."""

import asyncio
import gc
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest

from chat.db.pool import Database
from chat.domain.rooms import RoomCursor, RoomDirectory, RoomListLoader
from chat.http import app_keys as keys
from chat.protocol.close_codes import CloseCode
from chat.realtime import connection as module
from chat.realtime.hub import Hub
from chat.realtime.subscriber import Subscriber
from devtools import schema
from tests.support.client import Person
from tests.support.fake_transport import FakeTransport
from tests.support.server import InProcessServer, serving
from tests.support.settings import settings_for
from tests.support.waiting import eventually
from tests.support.websocket_bytes import upgrade_request

ROOMS = 10_000
STEP_S = 0.010  # of CPU time, that one step of the loop may take


@pytest.fixture(scope="module")
def crowded_url(database_url: str) -> Iterator[str]:
    """A database with ten thousand rooms."""
    with schema.scratch(database_url) as url:
        schema.reset(url)
        with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO rooms (name, topic) "
                "SELECT 'Room ' || n, 'What is said in room ' || n FROM generate_series(3, %s) AS n",
                [ROOMS],
            )
        yield url


async def join_all(url: str, user_id: int) -> None:
    """Make the user a member of all rooms."""
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO members (room_id, user_id) SELECT id, %s FROM rooms WHERE id > 2", [user_id])


@pytest.fixture
async def crowded(crowded_url: str) -> AsyncIterator[InProcessServer]:
    async with serving(settings_for(crowded_url, amqp_url="memory:")) as server:
        yield server


@pytest.fixture
async def ann(crowded: InProcessServer, crowded_url: str) -> Person:
    """A user in all rooms."""
    person = await crowded.sign_up("ann")
    await join_all(crowded_url, person.id)
    return person


async def test_a_list_without_limit_has_a_thousand_and_leads_to_the_rest(crowded: InProcessServer) -> None:
    bob = await crowded.sign_up("bob")
    await bob.leaves(1)
    path, pages, found = "/v1/chat/rooms", [], []
    while path:
        async with crowded.http.get(path, headers=bob.headers) as response:
            page = [room["id"] for room in await response.json()]
            pages.append(len(page))
            found += page
            path = str(response.links["next"]["url"]) if "next" in response.links else ""
    assert pages == [1_000] * 10
    assert found == [2, 1, *range(3, ROOMS + 1)]


async def test_a_hello_has_every_room_with_the_facts_of_the_list(ann: Person) -> None:
    await ann.posts("first", 7)
    hello = (await ann.connects()).heard[0]
    assert [room["chatroomId"] for room in hello["rooms"]] == list(range(1, ROOMS + 1))
    listed = await ann.gets("/v1/chat/rooms?limit=10")
    names = {"chatroomId": "id", "name": "name", "seq": "lastSeq", "messageNo": "lastMessageNo"}
    names |= {"readMessageNo": "readMessageNo"}
    assert hello["rooms"][:10] == [{ours: room[theirs] for ours, theirs in names.items()} for room in listed]
    assert hello["rooms"][6]["seq"] == hello["rooms"][6]["readMessageNo"] == 1


@pytest.mark.slow
async def test_a_peer_that_does_not_read_its_hello_keeps_others_waiting_for_its_turn_only(
    crowded_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_LARGE_HELLOS", 1)
    monkeypatch.setattr(module, "LARGE_HELLO_TURN_S", 0.5)
    async with serving(settings_for(crowded_url, amqp_url="memory:")) as server:
        ann, bob = await server.sign_up("ann"), await server.sign_up("bob")
        await join_all(crowded_url, ann.id)
        backend = server.app[keys.BACKEND]
        peer = socket.create_connection(("127.0.0.1", urlsplit(server.base_url).port))
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)  # else the kernel takes a megabyte for it
        reader, writer = await asyncio.open_connection(sock=peer)
        writer.write(upgrade_request(token=ann.token))
        await reader.readuntil(b"\r\n\r\n")
        await eventually(backend.large_hellos.locked)
        hellos = asyncio.gather(*(ann.connects() for _ in range(4)))
        await asyncio.wait_for(bob.connects(), 10)  # a small hello waits for nobody
        for wire in await hellos:
            assert len(wire.heard[0]["rooms"]) == ROOMS
        writer.transport.abort()


async def longest_step(act: Callable[[], Awaitable[Any]]) -> float:
    """The most CPU time that the loop was busy between two looks while `act` ran, in seconds.

    The garbage collector is off: how long it takes depends on all that this process holds. The machine has bad moments
    too, so callers take the best of three.
    """
    longest, acting = 0.0, asyncio.ensure_future(act())
    gc.collect()
    gc.disable()
    try:
        while not acting.done():
            began = time.thread_time()
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - began)
    finally:
        gc.enable()
    await acting
    return longest


@pytest.mark.timing
async def test_no_step_for_ten_thousand_rooms_keeps_the_loop(crowded_url: str) -> None:
    db = Database(crowded_url, size=2, name="test")
    await db.open()
    user_id = await db.fetch_value("users/create", int, username="steps", email="steps@example.com", password_hash="x")
    assert user_id is not None
    directory, loader, hub = RoomDirectory(db), RoomListLoader(db), Hub()
    listener = Subscriber(user_id, FakeTransport(), ignore_close, speaks_v2=False, buffer_limit_bytes=1 << 20)

    async def list_rooms() -> None:
        for _ in range(5):
            page = await directory.list_page(user_id, RoomCursor(), 1_000)
            assert page.next is not None

    async def connect() -> None:
        rooms = await loader.load(user_id)
        assert len(rooms.last_seqs) == ROOMS and not hub.opened_after(rooms.last_seqs)
        hub.disconnect(listener)
        hub.connect(listener)
        hub.set_membership(listener, rooms.last_seqs)

    try:
        assert min([await longest_step(list_rooms) for _ in range(3)]) < STEP_S
        await join_all(crowded_url, user_id)
        assert min([await longest_step(connect) for _ in range(3)]) < STEP_S
        assert listener.is_live(ROOMS)
    finally:
        await db.close()


def ignore_close(code: CloseCode) -> None:
    """Connections are not closed here."""
