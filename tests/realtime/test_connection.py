"""chat/realtime/connection.py: a websocket, from the upgrade to the close."""

import asyncio
import dataclasses
import gc
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from chat.config import Settings
from chat.db.errors import StatementTimeout
from chat.db.pool import Database
from chat.http import app_keys as keys
from chat.protocol.close_codes import CloseCode
from chat.realtime.connection import ClientConnection
from tests.support.client import GENERAL, Chat, Person
from tests.support.names import unique
from tests.support.server import InProcessServer, serving
from tests.support.waiting import PATIENCE_S, eventually
from tests.support.websocket_bytes import Opcode, RawWebsocket, client_frame, text_frame, upgrade_request

# --- the upgrade --------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["token", "jwt", "header", "subprotocol"])
async def test_the_token_may_come_in_four_ways(chat: Chat, alice: Person, place: str) -> None:
    path = {"token": f"/v1/ws?token={alice.token}", "jwt": f"/v1/ws?jwt={alice.token}"}.get(place, "/v1/ws")
    headers = alice.headers if place == "header" else {}
    protocols = ["chat.v2", f"bearer.{alice.token}"] if place == "subprotocol" else []
    async with chat.http.ws_connect(path, headers=headers, protocols=protocols) as ws:
        assert ws.protocol == ("chat.v2" if place == "subprotocol" else None)


async def refused(chat: Chat, path: str, **options: Any) -> aiohttp.WSServerHandshakeError:
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await chat.http.ws_connect(path, **options)
    return caught.value


async def test_without_a_token_there_is_no_upgrade(chat: Chat) -> None:
    error = await refused(chat, "/v1/ws")
    assert error.status == 401
    assert error.headers is not None and "Bearer" in error.headers["WWW-Authenticate"]
    assert (await refused(chat, "/v1/ws?token=nonsense")).status == 401


async def test_a_token_in_a_subprotocol_needs_chat_v2(chat: Chat, alice: Person) -> None:
    assert (await refused(chat, "/v1/ws", protocols=[f"bearer.{alice.token}"])).status == 400


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://evil.example", 403), ("null", 403), ("https://friend.example", 101), ("own", 101)],
)
async def test_a_page_may_connect_from_our_own_or_an_allowed_origin(
    chat: Chat, alice: Person, origin: str, status: int
) -> None:
    origin = chat.base_url if origin == "own" else origin
    path = f"/v1/ws?token={alice.token}"
    if status == 101:
        async with chat.http.ws_connect(path, origin=origin):
            pass
    else:
        assert (await refused(chat, path, origin=origin)).status == status


# --- the original's language --------------------------------------------------------------------------


async def test_two_users_chat_in_the_original_language(alice: Person, bob: Person) -> None:
    a, b = await alice.connects(v2=False), await bob.connects(v2=False)
    text = unique("hello")
    await a.send({"type": 1, "chatmessage": text, "chatuser": "somebody@else.example", "chatroomId": GENERAL})
    for client in (a, b):
        frame = await client.hears(text)
        assert frame["chatuser"] == alice.email
        assert frame["chatroomId"] == GENERAL
    assert {frame["type"] for frame in a.heard + b.heard} <= {1, 14}


async def test_the_original_language_hears_only_its_own_rooms(alice: Person, bob: Person) -> None:
    room = await alice.creates()
    a, b = await alice.connects(v2=False), await bob.connects(v2=False)
    await alice.posts("secret of the room", room)
    await a.hears("secret of the room")
    text = unique("for all")
    await alice.posts(text)
    await b.hears(text)
    assert not [frame for frame in b.heard if frame["chatroomId"] == room]


@pytest.fixture
async def without_poll(chat: InProcessServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Keep the relay of the server from polling."""
    has_begun, may_end = asyncio.Event(), asyncio.Event()

    async def poll() -> None:
        has_begun.set()
        await may_end.wait()

    monkeypatch.setattr(chat.app[keys.BACKEND].relay, "poll", poll)
    await asyncio.wait_for(has_begun.wait(), PATIENCE_S)  # the poll before it has ended
    yield
    may_end.set()


async def test_a_plain_client_gets_no_message_again_from_a_process_that_is_behind_the_log(
    chat: InProcessServer, settings: Settings, alice: Person, bob: Person, without_poll: None
) -> None:
    """A client that comes from a process which has the last messages gets none of them again."""
    room = await alice.creates()
    await bob.joins(room)
    await (await alice.connects()).resume(room)  # so this process follows the room, at an older number
    hub = chat.app[keys.BACKEND].hub
    async with serving(dataclasses.replace(settings, amqp_url="memory:")) as elsewhere:  # it publishes to itself alone
        author = Person(elsewhere, {"token": alice.token, "user": vars(alice)})
        for number in range(5):
            there = await bob.connects(v2=False, chat=elsewhere)
            before = await author.posts(f"before {number}", room)
            await there.hears(f"before {number}")
            await there.close()
            last_sent = hub.last_sent_seq(room)
            assert last_sent is not None and last_sent < before["seq"], "this process is not behind"
            client = await bob.connects(v2=False)
            await author.posts(f"after {number}", room)
            await alice.posts(f"in the end {number}", room)
            await client.hears(f"in the end {number}")
            heard = [frame["chatmessage"] for frame in client.heard if frame["chatroomId"] == room]
            assert heard == [f"after {number}", f"in the end {number}"]


# --- chat.v2 ------------------------------------------------------------------------------------------


async def test_the_hello_has_the_user_the_rooms_and_the_limits(alice: Person) -> None:
    room = await alice.creates("hello " + unique())
    await alice.posts("one", room)
    hello = (await alice.connects()).heard[0]
    assert hello["user"] == {"id": alice.id, "username": alice.username, "email": alice.email}
    listed = {entry["chatroomId"]: entry for entry in hello["rooms"]}
    assert listed[room]["seq"] == 2
    assert listed[room]["messageNo"] == 1
    assert listed[room]["readMessageNo"] == 1
    assert GENERAL in listed
    assert hello["epoch"] and hello["connection"] and hello["limits"]["messageChars"] == 4000


async def test_a_room_is_silent_until_it_is_resumed(alice: Person, bob: Person) -> None:
    room = await alice.creates()
    await bob.joins(room)
    client = await bob.connects()
    await alice.posts("before", room)
    await client.round_trip()
    assert client.seqs(room) == []
    resumed = await client.resume(room, after=2)
    assert resumed == {"type": 11, "chatroomId": room, "from": 3, "to": 3, "complete": True}
    await alice.posts("after", room)
    await client.hears("after")
    assert client.seqs(room) == [3, 4]


async def test_a_resume_replays_from_any_number_in_the_bytes_of_the_log(alice: Person) -> None:
    room = await alice.creates()
    for number in range(5):
        await alice.posts(f"message {number}", room)
    client = await alice.connects()
    await client.resume(room, after=0)
    assert client.seqs(room) == [1, 2, 3, 4, 5, 6]
    await alice.posts("live", room)
    await client.hears("live")
    async with alice.chat.http.get(f"/v1/chat/rooms/{room}/events?after=0", headers=alice.headers) as response:
        log = await response.text()
    sockets = [raw for raw, frame in zip(client.raw, client.heard, strict=True) if frame["type"] in (1, 5, 6)]
    assert log == "[" + ",".join(sockets) + "]"


async def test_a_resume_from_the_future_or_of_another_epoch_is_not_complete(alice: Person) -> None:
    room = await alice.creates()
    client = await alice.connects()
    resumed = await client.resume(room, after=99)
    assert resumed == {"type": 11, "chatroomId": room, "from": 1, "to": 1, "complete": False}
    resumed = await client.resume(room, after=1, epoch="another")
    assert (resumed["from"], resumed["to"], resumed["complete"]) == (1, 1, False)
    assert (await client.resume(room, after=1, epoch=client.heard[0]["epoch"]))["complete"]


async def test_a_resume_of_a_room_that_is_not_there_is_an_error(alice: Person) -> None:
    client = await alice.connects()
    await client.send({"type": 11, "chatroomId": 999_999, "after": 0})
    assert (await client.errs("not_found"))["chatroomId"] == 999_999
    assert (await client.resume(GENERAL, after=0))["chatroomId"] == GENERAL


async def test_each_request_id_is_acked_in_the_order_of_sending(alice: Person) -> None:
    client = await alice.connects()
    ids = [unique(f"write-{number}") for number in range(50)]
    for request_id in ids:
        await client.says("quick", requestId=request_id)
    await client.expect(type=13, requestId=ids[-1])
    acks = [frame for frame in client.heard if frame["type"] == 13]
    assert [ack["requestId"] for ack in acks] == ids
    seqs = [ack["seq"] for ack in acks]
    assert seqs == sorted(seqs)
    assert {ack["duplicate"] for ack in acks} == {False}


async def test_the_same_write_twice_is_one_event(alice: Person) -> None:
    room = await alice.creates()
    client = await alice.connects()
    await client.resume(room)
    request_id = unique("same")
    for _ in range(3):
        await client.says("once", room, requestId=request_id)
    acks = [await client.expect(type=13, requestId=request_id) for _ in range(3)]
    assert [ack["duplicate"] for ack in acks] == [False, True, True]
    again = await alice.posts("once", room, requestId=request_id)
    assert again["duplicate"] is True
    assert {ack["seq"] for ack in acks} == {again["seq"]}
    await client.says("other text", room, requestId=request_id)
    await client.errs("request_id_reused", requestId=request_id)
    assert [event["chatmessage"] for event in await alice.events(room) if event["type"] == 1] == ["once"]


async def test_a_read_marker_only_rises_and_reaches_all_connections_of_the_user(alice: Person, bob: Person) -> None:
    room = await alice.creates()
    await bob.joins(room)
    for number in range(3):
        await alice.posts(f"unread {number}", room)
    laptop, phone = await bob.connects(), await bob.connects()
    await laptop.send({"type": 17, "chatroomId": room, "messageNo": 2})
    assert (await phone.expect(type=17))["messageNo"] == 2
    await laptop.send({"type": 17, "chatroomId": room, "messageNo": 1})
    assert (await phone.expect(type=17))["messageNo"] == 2
    await laptop.send({"type": 17, "chatroomId": room, "messageNo": 1000})
    assert (await phone.expect(type=17))["messageNo"] == 3
    assert (await bob.gets(f"/v1/chat/rooms/{room}"))["readMessageNo"] == 3
    await laptop.send({"type": 17, "chatroomId": 999_999, "messageNo": 1})
    await laptop.errs("not_a_member")


async def test_a_read_marker_that_perhaps_moved_is_reported_as_unknown(
    chat: Chat, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_answer(self: Database, name: str, type_: type, **params: Any) -> Any:
        raise StatementTimeout

    client = await alice.connects()
    monkeypatch.setattr(Database, "fetch_value", no_answer)
    await client.send({"type": 17, "chatroomId": GENERAL, "messageNo": 0})
    assert (await client.expect(type=14))["code"] == "unknown"


@pytest.mark.parametrize("v2", [True, False])
async def test_an_open_connection_gets_a_room_from_the_join_to_the_leave(alice: Person, bob: Person, v2: bool) -> None:
    room = await alice.creates()
    client = await bob.connects(v2=v2)
    await bob.joins(room)
    await alice.posts("welcome", room)
    await client.hears("welcome")
    if v2:
        joined = next(frame for frame in client.heard if frame["type"] == 5)
        assert joined["action"] == "joined" and joined["room"]["id"] == room
    await bob.leaves(room)
    await alice.posts("gone", room)
    mark = unique("mark")
    await bob.posts(mark)
    if not v2:
        await client.hears(mark)
    else:
        await client.round_trip()
    assert "gone" not in [frame.get("chatmessage") for frame in client.heard]
    if v2:
        assert [frame["action"] for frame in client.heard if frame["type"] == 5] == ["joined", "left"]


# --- bad input ----------------------------------------------------------------------------------------

BAD_FRAMES = {
    "not JSON": ("{", "JSON"),
    "not an object": ("[]", "object"),
    "no type": ("{}", "type"),
    "unknown type": ('{"type":99}', "type"),
    "a server's type": ('{"type":13,"requestId":"12345678"}', "type"),
    "missing field": ('{"type":1,"chatroomId":1,"requestId":"12345678"}', "chatmessage"),
    "wrong type": ('{"type":1,"chatroomId":"1","chatmessage":"x"}', "$.chatroomId"),
    "negative room": ('{"type":1,"chatroomId":-1,"chatmessage":"x"}', "$.chatroomId"),
    "huge room": ('{"type":1,"chatroomId":99999999999999999999,"chatmessage":"x"}', "$.chatroomId"),
    "too long": (json.dumps({"type": 1, "chatroomId": 1, "chatmessage": "x" * 4001}), "4001"),
    "blank": ('{"type":1,"chatroomId":1,"chatmessage":"  \\n "}', "0 characters"),
    "NUL": ('{"type":1,"chatroomId":1,"chatmessage":"a\\u0000b"}', "U+0000"),
    "lone surrogate": ('{"type":1,"chatroomId":1,"chatmessage":"a\\ud800b"}', "surrogate"),
    "short requestId": ('{"type":1,"chatroomId":1,"chatmessage":"x","requestId":"short"}', "$.requestId"),
    "deep": ('{"type":1,"x":' + "[" * 20_000 + "]" * 20_000 + "}", "deep"),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
async def test_a_bad_frame_is_answered_and_the_connection_stays(alice: Person, name: str) -> None:
    client = await alice.connects()
    text, expected = BAD_FRAMES[name]
    await client.send(text)
    error = await client.errs("bad_request")
    assert expected in error["chatmessage"]
    assert error["chatuser"] == "server"
    if "12345678" in text:
        assert error["requestId"] == "12345678"
    await client.says("still open", requestId=unique("request"))
    await client.expect(type=13)


async def test_an_unknown_room_is_answered_with_the_request_id(alice: Person) -> None:
    client = await alice.connects()
    request_id = unique("request")
    await client.says("anybody?", 999_999, requestId=request_id)
    assert (await client.errs("not_found", requestId=request_id))["chatroomId"] == 999_999


async def test_a_binary_frame_ends_the_connection(alice: Person) -> None:
    client = await alice.connects()
    await client.ws.send_bytes(b"\x00")
    assert await client.closed() == 1003


async def test_a_frame_above_64_kib_ends_the_connection(alice: Person) -> None:
    client = await alice.connects()
    await client.send('{"type":1,"x":"' + "x" * 65_536 + '"}')
    assert await client.closed() == 1009
    client = await alice.connects()
    frame = '{"type":1,"chatroomId":1,"chatmessage":"fits","requestId":"12345678","x":"'
    await client.send(frame + "x" * (65_536 - len(frame) - 2) + '"}')
    await client.expect(type=13)


async def test_text_that_is_not_utf_8_ends_the_connection(alice: Person) -> None:
    client = await alice.connects()
    await client.ws.send_frame(b'{"type":1,"chatmessage":"\xff"}', aiohttp.WSMsgType.TEXT)
    assert await client.closed() == 1007


async def test_a_fault_of_the_server_ends_the_connection_with_1011(
    alice: Person, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise ValueError("a fault of our own")

    client = await alice.connects()
    monkeypatch.setattr(ClientConnection, "resume", fails)
    await client.send({"type": 11, "chatroomId": GENERAL, "after": 0})
    assert await client.closed() == CloseCode.INTERNAL_ERROR
    assert "a fault of our own" in caplog.text


# --- the end ------------------------------------------------------------------------------------------


async def test_a_connection_is_forgotten_when_its_client_goes(chat: InProcessServer, alice: Person) -> None:
    hub = chat.app[keys.BACKEND].hub
    client = await alice.connects()
    assert alice.id in hub.users()
    await client.close()
    await eventually(lambda: alice.id not in hub.users())


async def test_many_connections_of_one_user_get_the_same(alice: Person) -> None:
    room = await alice.creates()
    clients = await asyncio.gather(*(alice.connects() for _ in range(20)))
    await asyncio.gather(*(client.resume(room) for client in clients))
    await asyncio.gather(*(alice.posts(f"number {number}", room) for number in range(20)))
    for client in clients:
        await eventually(lambda client: len(client.seqs(room)) == 21, client)
        assert client.seqs(room) == list(range(1, 22))


# --- what stays when a client has gone ------------------------------------------------------------------


def port_of(chat: Chat) -> int:
    return int(chat.base_url.rsplit(":", 1)[1])


def alive() -> int:
    """The connections that exist."""
    return sum(type(each) is ClientConnection for each in gc.get_objects())


async def test_nothing_stays_of_a_client_that_goes_before_the_upgrade_is_done(
    chat: InProcessServer, alice: Person
) -> None:
    gc.collect()
    before = alive()
    for _ in range(50):
        _, writer = await asyncio.open_connection("127.0.0.1", port_of(chat))
        writer.write(upgrade_request(token=alice.token))
        writer.transport.abort()
    await alice.gets("/v1/users/me")  # it has been read by now
    await eventually(lambda: gc.collect() >= 0 and alive() == before)


async def test_a_connection_that_has_ended_does_not_wait_for_the_garbage_collector(
    chat: InProcessServer, alice: Person
) -> None:
    connections = chat.app[keys.BACKEND].connections
    gc.collect()
    before = alive()
    gc.disable()
    try:
        async with RawWebsocket.connect(port_of(chat), upgrade_request(token=alice.token)) as socket:
            await socket.receive()
            await socket.send(client_frame(Opcode.TEXT, b"x" * 60_000, fin=False))
            assert any(each.identity.user_id == alice.id for each in connections)
        await eventually(lambda: alive() == before)
    finally:
        gc.enable()


async def test_a_refusal_of_a_client_that_has_gone_is_no_fault_of_the_server(
    chat: InProcessServer, alice: Person, bob: Person, caplog: pytest.LogCaptureFixture
) -> None:
    room = await bob.creates()
    markers = [text_frame({"type": 17, "chatroomId": room, "messageNo": 1}) for _ in range(20)]
    with caplog.at_level(logging.ERROR):
        for _ in range(10):
            async with RawWebsocket.connect(port_of(chat), upgrade_request(token=alice.token)) as socket:
                await socket.receive()
                await socket.send(b"".join(markers))
        client = await alice.connects()
        await client.send({"type": 17, "chatroomId": room, "messageNo": 1})
        await client.errs("not_a_member")
        gc.collect()
    assert caplog.records == []
