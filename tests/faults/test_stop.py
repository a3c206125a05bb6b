"""A graceful stop under load, and a thousand websockets that reconnect at once."""

import asyncio
import contextlib
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from tests.faults.cluster import ServerPair, Services, two_servers
from tests.support.client import Chat, Person, WebsocketClient
from tests.support.names import unique

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def pair(services: Services) -> AsyncIterator[ServerPair]:
    """Two servers of this test's own, since it stops them."""
    async with two_servers(services) as servers:
        yield servers


async def resumed(person: Person, chat: Chat, room: int, after: int = 0) -> WebsocketClient:
    client = await person.connects(chat=chat)
    await client.resume(room, after=after)
    return client


async def test_a_stop_under_load_answers_the_writes_in_flight_and_disconnects_all(
    pair: ServerPair,
) -> None:
    first, second = pair
    async with Chat(first.url) as here, Chat(second.url) as there:
        alice = await here.sign_up("alice")
        room = await alice.creates()
        writers = [await alice.connects() for _ in range(10)]
        readers = [await resumed(alice, here, room) for _ in range(50)]
        sent: dict[str, WebsocketClient] = {}

        async def write(client: WebsocketClient) -> None:
            with contextlib.suppress(ConnectionError):
                while True:
                    request_id = unique("write")
                    await client.says(request_id, room, requestId=request_id)
                    sent[request_id] = client
                    await asyncio.sleep(0.01)

        writing = [asyncio.create_task(write(client)) for client in writers]
        await writers[0].expect(type=13)
        await asyncio.sleep(0.5)
        before = set(sent)
        await asyncio.sleep(0.25)  # what is still in the network when it stops cannot be answered
        first.signal(signal.SIGTERM)
        assert await first.ended(10) == 0
        codes = Counter([await client.closed() for client in (*writers, *readers)])
        for task in writing:
            task.cancel()
        assert codes == {1012: len(writers) + len(readers)}
        answers = {
            frame.get("requestId"): frame["type"]
            for client in writers
            for frame in client.heard
            if frame["type"] in (13, 14)
        }
        assert before <= answers.keys(), "a write under way was not answered"
        acked = {request_id for request_id, kind in answers.items() if kind == 13}
        # They go on at the other server, from where they were.
        for client in readers[:10]:
            seqs = client.seqs(room)
            assert seqs == list(range(1, len(seqs) + 1))
            again = await resumed(alice, there, room, after=seqs[-1])
            assert (seqs + again.seqs(room)) == list(range(1, again.heard[-1]["to"] + 1))
        stored = {event.get("chatmessage") for event in await at(alice, there).events(room)}
        assert acked <= stored
        assert len(acked) > 100
        await first.start()


def at(person: Person, chat: Chat) -> Person:
    """The same user, on another server."""
    session = {
        "token": person.token,
        "user": {"id": person.id, "username": person.username, "email": person.email},
    }
    return Person(chat, session)


@pytest.mark.timing
@pytest.mark.parametrize(("sockets", "pause_s"), [(1_000, 0.5), (20, 0.0)], ids=["very many", "a flood"])
async def test_many_sockets_resume_at_once_while_others_write(pair: ServerPair, sockets: int, pause_s: float) -> None:
    direct = [f"http://127.0.0.1:{server.port}" for server in pair]  # the proxies would be what is measured
    async with Chat(direct[0]) as here, Chat(direct[1]) as there:
        alice = await here.sign_up("alice")
        room = await alice.creates()
        for _ in range(3):
            await asyncio.gather(*(alice.posts("before", room) for _ in range(20)))
        done = asyncio.Event()

        async def write() -> None:
            person = at(alice, there)
            while not done.is_set():
                await person.posts("meanwhile", room)
                await asyncio.sleep(pause_s)

        writing = [asyncio.create_task(write()) for _ in range(4)]

        resumed_counts: Counter[bool] = Counter()

        async def come_back(number: int) -> None:
            """Connect, resume from a number of its own, and check that nothing is missing or there twice."""
            headers = {"Authorization": f"Bearer {alice.token}"}
            after = number % 60
            async with here.http.ws_connect("/v1/ws", protocols=["chat.v2"], headers=headers) as ws:
                assert (await ws.receive_json())["type"] == 10
                await ws.send_json({"type": 11, "chatroomId": room, "after": after})
                answer, due = None, after + 1
                while answer is None or due <= answer["to"] + 3:
                    frame = await ws.receive_json(timeout=60)
                    if frame["type"] == 11:
                        answer = frame
                        if frame["complete"]:
                            assert (frame["from"], frame["to"]) == (after + 1, due - 1)
                        else:  # too far behind: page, while the room is live already
                            assert frame["from"] == due
                            due = frame["to"] + 1
                        resumed_counts[frame["complete"]] += 1
                    elif "seq" in frame:
                        assert frame["seq"] == due
                        due += 1

        started = time.monotonic()
        await asyncio.gather(*(come_back(number) for number in range(sockets)))
        took = time.monotonic() - started
        done.set()
        await asyncio.gather(*writing)
        assert took < 45
        assert resumed_counts[True] > sockets / 2 or not pause_s
        print(f"{sockets} sockets were live again after {took:.1f} s")
