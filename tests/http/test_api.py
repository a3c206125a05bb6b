"""chat/http: every address, its statuses, and the one form of errors."""

import asyncio
import json
import os
import re
from datetime import datetime
from typing import Any

import pytest

from chat.http import app_keys as keys
from tests.support.client import GENERAL, Chat, Person, WebsocketClient
from tests.support.names import unique
from tests.support.server import InProcessServer, serving
from tests.support.settings import settings_for

RFC3339_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


async def error_of(chat: Chat, method: str, path: str, status: int, **options: Any) -> tuple[str, str]:
    """code and message of a refusal, which must have this status and the JSON form."""
    async with chat.http.request(method, path, **options) as response:
        assert response.status == status, await response.text()
        assert response.content_type == "application/json"
        body = await response.json()
    assert list(body) == ["error"] and list(body["error"]) == ["code", "message"]
    return body["error"]["code"], body["error"]["message"]


# --- accounts -----------------------------------------------------------------------------------------


async def test_sign_up_gives_a_token_that_works(chat: Chat) -> None:
    name = unique("Zoe.z_")
    body = {"username": name, "email": f"{name}@EXAMPLE.com", "password": "pässwörd 🔑"}
    session = await chat.asks("POST", "/v1/auth/signup", body, 201)
    assert session["user"]["username"] == name
    assert session["user"]["email"] == f"{name}@example.com"
    assert RFC3339_UTC.fullmatch(session["expiresAt"])
    me = await chat.asks("GET", "/v1/users/me", headers={"Authorization": f"Bearer {session['token']}"})
    assert me == session["user"]


async def test_log_in_by_email_whatever_its_case(chat: Chat, alice: Person) -> None:
    body = {"email": alice.email.upper(), "password": "correct horse"}
    assert (await chat.asks("POST", "/v1/auth/login", body))["user"]["id"] == alice.id


async def test_a_wrong_password_and_an_unknown_email_are_the_same_refusal(chat: Chat, alice: Person) -> None:
    answers = []
    for email in (alice.email, "nobody@example.com", "no address at all"):
        body = {"email": email, "password": "wrong horse"}
        answers.append(await error_of(chat, "POST", "/v1/auth/login", 401, json=body))
    assert answers[0] == answers[1] == answers[2]


async def test_an_unknown_email_costs_a_verification_like_a_known_one(chat: InProcessServer, alice: Person) -> None:
    assert chat.app is not None
    passwords = chat.app[keys.PASSWORDS]
    for email in (alice.email, "nobody@example.com"):
        before = passwords.verifications
        await error_of(chat, "POST", "/v1/auth/login", 401, json={"email": email, "password": "wrong horse"})
        assert passwords.verifications == before + 1


@pytest.mark.parametrize("field", ["username", "email"])
async def test_a_taken_name_or_address_is_a_conflict_whatever_its_case(chat: Chat, alice: Person, field: str) -> None:
    other = unique("other")
    body = {"username": other, "email": f"{other}@example.com", "password": "correct horse"}
    body[field] = getattr(alice, field).upper()
    code, message = await error_of(chat, "POST", "/v1/auth/signup", 409, json=body)
    assert code == f"{field}_taken" and field in message


@pytest.mark.slow
async def test_of_many_sign_ups_with_one_name_one_succeeds(chat: Chat) -> None:
    name = unique("race")

    async def sign_up(number: int) -> int:
        body = {"username": name, "email": f"{number}{name}@example.com", "password": "correct horse"}
        async with chat.http.post("/v1/auth/signup", json=body) as response:
            return response.status

    assert sorted(await asyncio.gather(*map(sign_up, range(5)))) == [201, 409, 409, 409, 409]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"username": "ab"}, "username"),
        ({"username": "x" * 33}, "username"),
        ({"username": "with space"}, "username"),
        ({"username": "ünicode"}, "username"),
        ({"username": "adm1n"}, "username is reserved"),
        ({"username": "r0.b0t"}, "username is reserved"),
        ({"username": "deleted-7"}, "username is reserved"),
        ({"email": "nobody"}, "email"),
        ({"email": "a@b@c"}, "email"),
        ({"password": "short"}, "password"),
        ({"password": "ä" * 513}, "password"),
        ({"username": 7}, "$.username"),
        ({"password": None}, "$.password"),
    ],
)
async def test_a_sign_up_that_is_wrong_names_the_field(chat: Chat, changed: dict[str, Any], said: str) -> None:
    name = unique("wrong")
    body = {"username": name, "email": f"{name}@example.com", "password": "correct horse", **changed}
    code, message = await error_of(chat, "POST", "/v1/auth/signup", 400, json=body)
    assert code == "bad_request" and said in message


async def joined_by_sign_up(chat: Chat, wire: WebsocketClient) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Sign up over REST. Return the user, and the events of the default rooms that the websocket gets."""
    name = unique("new")
    body = {"username": name, "email": f"{name}@example.com", "password": "correct horse"}
    user = (await chat.asks("POST", "/v1/auth/signup", body, 201))["user"]
    joins = [await wire.expect(type=5, action="joined", userId=user["id"]) for _ in range(2)]
    return user, sorted(joins, key=lambda frame: int(frame["chatroomId"]))


async def test_a_new_account_is_told_to_the_members_of_the_default_rooms(chat: Chat, alice: Person) -> None:
    wire = await alice.connects()
    before = {room["id"]: room for room in await alice.gets("/v1/chat/rooms")}
    for room in (1, 2):
        await wire.resume(room, before[room]["lastSeq"])
    user, joins = await joined_by_sign_up(chat, wire)
    assert [(frame["chatroomId"], frame["room"]["name"]) for frame in joins] == [(1, "General"), (2, "Random")]
    assert all(frame["username"] == user["username"] for frame in joins)
    after = {room["id"]: room for room in await alice.gets("/v1/chat/rooms")}
    for room, frame in zip((1, 2), joins, strict=True):
        assert after[room]["memberCount"] == before[room]["memberCount"] + 1
        assert after[room]["lastSeq"] == frame["seq"] == before[room]["lastSeq"] + 1
        assert after[room]["lastMessageNo"] == before[room]["lastMessageNo"]
        assert (await alice.events(room, frame["seq"] - 1))[0] == frame


@pytest.mark.timing
async def test_a_new_account_is_told_within_a_second(chat: Chat, alice: Person) -> None:
    wire = await alice.connects()
    for room in (1, 2):
        await wire.resume(room, (await alice.gets(f"/v1/chat/rooms/{room}"))["lastSeq"])
    name = unique("new")
    body = {"username": name, "email": f"{name}@example.com", "password": "correct horse"}
    await chat.asks("POST", "/v1/auth/signup", body, 201)
    await wire.expect(within_s=1, type=5, action="joined", username=name, chatroomId=1)


async def test_a_refused_sign_up_is_told_to_nobody(chat: Chat, alice: Person) -> None:
    before = (await alice.gets("/v1/chat/rooms/1"))["lastSeq"]
    body = {"username": alice.username, "email": f"{unique()}@example.com", "password": "correct horse"}
    await chat.asks("POST", "/v1/auth/signup", body, 409)
    assert (await alice.gets("/v1/chat/rooms/1"))["lastSeq"] == before


async def test_a_new_user_is_in_the_default_rooms(alice: Person) -> None:
    rooms = await alice.gets("/v1/chat/rooms?limit=2")
    assert [(room["id"], room["name"], room["isMember"]) for room in rooms] == [
        (1, "General", True),
        (2, "Random", True),
    ]


async def test_too_many_log_ins_get_a_time_to_try_again(database_url: str) -> None:
    async with serving(settings_for(database_url, hash_threads=1, hash_queue_timeout_s=0.05)) as busy:
        user = await busy.sign_up()
        body = {"email": user.email, "password": "correct horse"}

        async def log_in() -> tuple[int, str | None]:
            async with busy.http.post("/v1/auth/login", json=body) as response:
                return response.status, response.headers.get("Retry-After")

        answers = await asyncio.gather(*(log_in() for _ in range(20)))
    assert (200, None) in answers
    assert (503, "1") in answers
    assert {status for status, _ in answers} == {200, 503}


# --- the guard ----------------------------------------------------------------------------------------

GUARDED = [
    ("GET", "/v1/users/me"),
    ("GET", "/v1/chat/rooms"),
    ("POST", "/v1/chat/rooms"),
    ("GET", "/v1/chat/rooms/1"),
    ("GET", "/v1/chat/rooms/1/members"),
    ("PUT", "/v1/chat/rooms/1/members/me"),
    ("DELETE", "/v1/chat/rooms/1/members/me"),
    ("GET", "/v1/api/chat/rooms/1/messages"),
    ("GET", "/v1/chat/rooms/1/messages"),
    ("POST", "/v1/chat/rooms/1/messages"),
    ("GET", "/v1/chat/rooms/1/events"),
    ("GET", "/v1/ws"),
]


@pytest.mark.parametrize(("method", "path"), GUARDED)
@pytest.mark.parametrize("header", ["", "Bearer", "Bearer nonsense", "Basic abc", "Bearer a.b.c"])
async def test_without_a_valid_token_a_request_is_refused(chat: Chat, method: str, path: str, header: str) -> None:
    headers = {"Authorization": header} if header else {}
    async with chat.http.request(method, path, headers=headers) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
        assert (await response.json())["error"]["code"] == "unauthorized"


def test_every_address_is_guarded_or_open_on_purpose(chat: InProcessServer) -> None:
    assert chat.app is not None
    addresses = {
        (route.method, re.sub(r"\{room_id[^}]*\}", "1", route.resource.canonical.replace("{room_id}", "1")))
        for route in chat.app.router.routes()
        if route.resource is not None and route.method not in ("HEAD", "*")
    }
    guarded_or_open = {path for _, path in GUARDED}
    for method, path in addresses:
        is_open = path.startswith(("/v1/auth/", "/health/")) or not path.startswith("/v1/")
        assert is_open or (method, path) in GUARDED, f"{method} {path} is in neither list"
    assert guarded_or_open <= {path for _, path in addresses}


# --- rooms --------------------------------------------------------------------------------------------


async def test_a_new_room_has_its_creator_as_owner_and_event_one(alice: Person) -> None:
    name = unique("Tea & Kekse ☕")
    room = await alice.asks("POST", "/v1/chat/rooms", {"name": f"  {name} ", "topic": "hot"}, 201)
    assert RFC3339_UTC.fullmatch(room.pop("createdAt"))
    assert room == {
        "id": room["id"],
        "name": name,
        "kind": "public",
        "topic": "hot",
        "memberCount": 1,
        "isMember": True,
        "lastSeq": 1,
        "lastMessageNo": 0,
        "readMessageNo": 0,
    }
    members = await alice.gets(f"/v1/chat/rooms/{room['id']}/members")
    assert [(member["userId"], member["role"], member["isBot"]) for member in members] == [(alice.id, "owner", False)]
    (event,) = await alice.events(room["id"])
    assert (event["type"], event["seq"], event["action"], event["name"]) == (6, 1, "created", name)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"name": "   "}, "name"),
        ({"name": "\u3164\u200b "}, "name has no visible character"),
        ({"name": "x" * 101}, "101"),
        ({"name": "two\nlines"}, "U+000A"),
        ({"name": "x", "topic": "t" * 401}, "topic"),
        ({"topic": "nameless"}, "name"),
        ({"name": ["x"]}, "$.name"),
    ],
)
async def test_a_room_that_is_wrong_names_the_field(alice: Person, body: Any, said: str) -> None:
    answer = await alice.asks("POST", "/v1/chat/rooms", body, 400)
    assert said in answer["error"]["message"]


async def test_a_second_room_of_a_name_is_a_conflict_whatever_its_case(alice: Person, bob: Person) -> None:
    name = unique("Café Ärger")
    await alice.creates(name)
    answer = await bob.asks("POST", "/v1/chat/rooms", {"name": name.upper()}, 409)
    assert answer["error"]["code"] == "name_taken"
    await alice.creates(f"ΟΔΟΣ {name}")
    answer = await bob.asks("POST", "/v1/chat/rooms", {"name": f"οδος {name}"}, 409)  # Σ has two small forms
    assert answer["error"]["code"] == "name_taken"


@pytest.mark.parametrize(
    "disguise", ["Gen\u200beral", "Ｇｅｎｅｒａｌ", "GENERAL", "General\u3164", "\u2060g\u00adeneral"]
)
async def test_a_room_name_is_taken_whatever_cannot_be_seen(alice: Person, disguise: str) -> None:
    answer = await alice.asks("POST", "/v1/chat/rooms", {"name": disguise}, 409)
    assert answer["error"]["code"] == "name_taken"
    name = unique("Trip Reports")
    await alice.creates(name)
    twin = name.replace("Trip Reports", "trip \u00a0 \uff32ep\u200dorts")
    answer = await alice.asks("POST", "/v1/chat/rooms", {"name": twin}, 409)
    assert answer["error"]["code"] == "name_taken"
    await alice.creates(name.replace("Trip Reports", "TripReports"))


async def test_of_many_that_create_one_room_one_succeeds(alice: Person) -> None:
    name = unique("race")
    names = [name, name.upper(), name.replace("race", "ra\u200bce"), name.replace("race", "ｒａｃｅ")]

    async def create(number: int) -> int:
        body = {"name": names[number % len(names)]}
        async with alice.chat.http.post("/v1/chat/rooms", json=body, headers=alice.headers) as response:
            return response.status

    assert sorted(await asyncio.gather(*map(create, range(8)))) == [201] + [409] * 7


async def test_the_longest_name_has_room_in_the_index(alice: Person) -> None:
    """U+FDFA alone becomes 18 characters when its width is ignored."""
    await alice.creates(unique("\ufdfa" * 80))


async def test_rooms_are_listed_in_one_order_with_the_own_ones_first(alice: Person, bob: Person) -> None:
    rooms = [await alice.creates() for _ in range(3)]
    await bob.joins(rooms[2])
    listed = await all_rooms(bob)
    assert {1, 2, *rooms} <= {room["id"] for room in listed}
    assert [room["id"] for room in listed if room["isMember"]] == [1, 2, rooms[2]]
    assert listed == sorted(listed, key=lambda room: (not room["isMember"], room["id"]))
    assert [room["id"] for room in await all_rooms(bob)] == [room["id"] for room in listed]
    for room in listed:
        if room["id"] in rooms:  # in others, a command of an earlier test may expire
            assert await bob.gets(f"/v1/chat/rooms/{room['id']}") == room


async def next_page(somebody: Person, path: str) -> tuple[Any, str | None]:
    """A page of a list, and the address of the one after it."""
    async with somebody.chat.http.get(path, headers=somebody.headers) as response:
        assert response.status == 200, await response.text()
        link = response.links.get("next")
        return await response.json(), None if link is None else str(link["url"])


async def all_rooms(somebody: Person, path: str | None = "/v1/chat/rooms") -> list[Any]:
    """The rooms of all pages."""
    found: list[Any] = []
    while path is not None:
        page, path = await next_page(somebody, path)
        found += page
    return found


async def test_pages_of_rooms_reach_each_room_once(alice: Person, bob: Person) -> None:
    rooms = [await alice.creates() for _ in range(5)]
    for room in (rooms[1], rooms[3]):
        await bob.joins(room)
    whole = [room["id"] for room in await all_rooms(bob)]
    for limit in (1, 2, 3, len(whole), 500):
        assert [room["id"] for room in await all_rooms(bob, f"/v1/chat/rooms?limit={limit}")] == whole
    page, following = await next_page(bob, f"/v1/chat/rooms?limit={len(whole)}")
    assert ([room["id"] for room in page], following) == (whole, None)


async def test_the_id_of_a_room_says_where_a_page_of_rooms_begins(alice: Person) -> None:
    room = await alice.creates()
    whole = [each["id"] for each in await all_rooms(alice)]
    for at in (0, whole.index(room), len(whole) - 2):
        page = await alice.gets(f"/v1/chat/rooms?limit=2&after={whole[at]}")
        assert [each["id"] for each in page] == whole[at + 1 : at + 3]


async def test_no_room_is_missed_that_is_joined_left_or_created_between_two_pages(alice: Person, bob: Person) -> None:
    rooms = [await alice.creates() for _ in range(6)]
    own, others = [1, 2, *rooms[:3]], rooms[3:]
    for room in rooms[:3]:
        await bob.joins(room)
    whole = [room["id"] for room in await all_rooms(bob)]
    assert whole[:5] == own
    page, following = await next_page(bob, "/v1/chat/rooms?limit=4")
    assert [room["id"] for room in page] == own[:4]
    await bob.leaves(own[4])  # it comes among the others
    await bob.joins(others[0])  # it stays among them
    created = await bob.creates()
    rest = await all_rooms(bob, following)
    assert [room["id"] for room in rest] == sorted({*whole, created} - set(own[:4]))
    assert {room["id"] for room in rest if room["isMember"]} == {others[0], created}
    page, following = await next_page(bob, f"/v1/chat/rooms?limit={len(whole) - 2}")
    await bob.leaves(own[1])  # has been listed, and is listed again as what it is now
    await bob.leaves(others[0])
    rest = await all_rooms(bob, following)
    assert {room["id"] for room in page + rest} == {*whole, created}


@pytest.mark.parametrize("query", ["limit=501", "limit=0", "after=x", "after=-1", "after=own-1", f"after={2**63}"])
async def test_a_page_of_rooms_that_cannot_be_is_refused(alice: Person, query: str) -> None:
    answer = await alice.asks("GET", f"/v1/chat/rooms?{query}", status=400)
    assert query.partition("=")[0] in answer["error"]["message"]


async def test_the_count_of_members_is_that_of_the_rows(chat: InProcessServer, alice: Person, bob: Person) -> None:
    room = await alice.creates()
    before = (await alice.gets("/v1/chat/rooms/1"))["memberCount"]
    carol = await chat.sign_up("carol")
    name = unique("dave")
    body = {"username": name, "email": f"{name}@example.com", "password": "correct horse"}
    await chat.asks("POST", "/v1/auth/signup", body, 201)
    assert (await alice.gets("/v1/chat/rooms/1"))["memberCount"] == before + 2
    await asyncio.gather(*(somebody.joins(room) for somebody in (bob, carol, carol)))
    await asyncio.gather(carol.leaves(room), carol.leaves(room))
    await asyncio.gather(*(carol.posts(f"{n}", room) for n in range(5)), bob.posts("hi", room))  # which joins
    await bob.leaves(room)
    await bob.leaves(room)
    assert (await alice.gets(f"/v1/chat/rooms/{room}"))["memberCount"] == 2
    for listed in await all_rooms(alice):
        members = await alice.gets(f"/v1/chat/rooms/{listed['id']}/members?limit=1000")
        assert listed["memberCount"] == len(members) or len(members) == 1000, listed


async def test_join_and_leave_are_events_once(alice: Person, bob: Person) -> None:
    room = await alice.creates()
    for _ in range(2):
        await bob.joins(room)
    assert (await bob.gets(f"/v1/chat/rooms/{room}"))["memberCount"] == 2
    for _ in range(2):
        await bob.leaves(room)
    state = await bob.gets(f"/v1/chat/rooms/{room}")
    assert (state["memberCount"], state["isMember"], state["lastSeq"]) == (1, False, 3)
    events = [(event["seq"], event.get("action"), event.get("userId")) for event in await alice.events(room)]
    assert events == [(1, "created", None), (2, "joined", bob.id), (3, "left", bob.id)]


async def test_members_are_paged_by_user_id(alice: Person, chat: Chat) -> None:
    room = await alice.creates()
    members = [alice] + [await chat.sign_up(f"member{number}") for number in range(3)]
    for person in members[1:]:
        await person.joins(room)
    path = f"/v1/chat/rooms/{room}/members"
    first = await alice.gets(f"{path}?limit=2")
    second = await alice.gets(f"{path}?limit=2&after={first[-1]['userId']}")
    assert [member["username"] for member in first + second] == [person.username for person in members]
    assert await alice.gets(f"{path}?after={second[-1]['userId']}") == []


@pytest.mark.parametrize("room", [0, 999_999, 2**63 - 1, 2**63, 10**18])
async def test_an_unknown_room_is_404_everywhere(alice: Person, room: int) -> None:
    path = f"/v1/chat/rooms/{room}"
    for method, address, body in [
        ("GET", path, None),
        ("GET", f"{path}/members", None),
        ("PUT", f"{path}/members/me", None),
        ("DELETE", f"{path}/members/me", None),
        ("GET", f"{path}/messages", None),
        ("GET", f"/v1/api/chat/rooms/{room}/messages", None),
        ("GET", f"{path}/events", None),
        ("POST", f"{path}/messages", {"chatmessage": "hello?"}),
    ]:
        assert (await alice.asks(method, address, body, 404))["error"]["code"] == "not_found"


# --- messages -----------------------------------------------------------------------------------------


async def test_a_message_is_returned_as_it_was_sent(alice: Person) -> None:
    text = "  Grüße, 世界! 👩‍👩‍👧\r\nsecond line\u2028 'quoted' \"twice\" \\ %s %(x)s $1 <b> &amp; ; -- \U0001f600 "
    event = await alice.posts(text)
    assert event["chatmessage"] == text.replace("\r\n", "\n").strip()
    assert event["duplicate"] is False
    assert (event["type"], event["chatuser"], event["username"]) == (1, alice.email, alice.username)
    assert RFC3339_UTC.fullmatch(event["createdAt"])
    assert datetime.fromisoformat(event["createdAt"]).utcoffset() is not None
    del event["duplicate"]
    assert (await alice.gets(f"/v1/chat/rooms/{GENERAL}/messages?limit=1")) == [event]


async def test_length_is_counted_in_characters(alice: Person) -> None:
    assert len((await alice.posts("😀" * 4000))["chatmessage"]) == 4000
    answer = await alice.posts("😀" * 4001, status=400)
    assert "4001" in answer["error"]["message"]


async def test_posting_to_a_public_room_joins_it(alice: Person, bob: Person) -> None:
    room = await alice.creates()
    await bob.posts("hello, I am new", room)
    assert (await bob.gets(f"/v1/chat/rooms/{room}"))["isMember"] is True
    events = await alice.events(room)
    assert [(event["seq"], event["type"]) for event in events] == [(1, 6), (2, 5), (3, 1)]


async def test_history_is_the_latest_fifty_and_pages_without_holes(alice: Person, bob: Person) -> None:
    room = await alice.creates()
    for number in range(60):
        await alice.posts(f"number {number}", room)
        if number % 20 == 0:
            await (bob.joins(room) if number % 40 == 0 else bob.leaves(room))
    path = f"/v1/chat/rooms/{room}/messages"
    latest = await alice.gets(path)
    assert [message["chatmessage"] for message in latest] == [f"number {number}" for number in range(10, 60)]
    assert latest == await alice.gets(f"/v1/api/chat/rooms/{room}/messages")
    earlier = await alice.gets(f"{path}?before={latest[0]['seq']}")
    assert [message["messageNo"] for message in earlier + latest] == list(range(1, 61))
    forward: list[Any] = []
    after = 0
    while page := await alice.gets(f"{path}?after={after}&limit=7"):
        forward += page
        after = page[-1]["seq"]
    assert forward == earlier + latest
    between = await alice.gets(f"{path}?after={forward[2]['seq']}&before={forward[6]['seq']}")
    assert between == forward[3:6]
    events = await alice.events(room)
    assert [event["seq"] for event in events] == list(range(1, 65))


async def test_an_empty_room_has_an_empty_history(alice: Person) -> None:
    room = await alice.creates()
    assert await alice.gets(f"/v1/chat/rooms/{room}/messages") == []
    assert await alice.gets(f"/v1/chat/rooms/{room}/events?after=1") == []


async def test_users_who_are_not_members_may_read_the_history(alice: Person, bob: Person) -> None:
    room = await alice.creates()
    await alice.posts("public", room)
    assert [message["chatmessage"] for message in await bob.gets(f"/v1/chat/rooms/{room}/messages")] == ["public"]
    assert (await bob.gets(f"/v1/chat/rooms/{room}"))["isMember"] is False


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=x",
        "limit=-1",
        "limit=5.0",
        "before=-1",
        "after=1e3",
        "after=٣",
        "before=" + "9" * 30,
    ],
)
async def test_a_query_that_is_wrong_names_the_parameter(alice: Person, query: str) -> None:
    answer = await alice.asks("GET", f"/v1/chat/rooms/1/messages?{query}", status=400)
    assert query.split("=")[0] in answer["error"]["message"]


async def test_the_same_write_twice_is_one_event_by_rest(alice: Person) -> None:
    room = await alice.creates()
    request_id = unique("rest")
    answers = await asyncio.gather(*(alice.posts("once", room, requestId=request_id) for _ in range(5)))
    assert sorted(answer.pop("duplicate") for answer in answers) == [False, True, True, True, True]
    assert all(answer == answers[0] for answer in answers)
    refused = await alice.posts("another text", room, requestId=request_id, status=409)
    assert refused["error"]["code"] == "request_id_reused"
    elsewhere = await alice.posts("another text", await alice.creates(), requestId=request_id)
    assert elsewhere["duplicate"] is False
    assert len(await alice.events(room)) == 2


@pytest.mark.parametrize("header", ["plain", "quoted"])
async def test_the_idempotency_key_is_the_request_id(alice: Person, header: str) -> None:
    room, key = await alice.creates(), unique("key")
    headers = {"Idempotency-Key": key if header == "plain" else f'"{key}"'}
    path = f"/v1/chat/rooms/{room}/messages"
    first = await alice.asks("POST", path, {"chatmessage": "once"}, 201, headers=headers)
    again = await alice.asks("POST", path, {"chatmessage": "once", "requestId": key}, 201, headers=headers)
    assert (first["requestId"], first["duplicate"], again["seq"], again["duplicate"]) == (
        key,
        False,
        first["seq"],
        True,
    )


@pytest.mark.parametrize(
    ("key", "request_id", "said"),
    [
        ("the-header-key", "another-key-1", "differ"),
        ("short", None, "8 to 64"),
        ("x" * 65, None, "8 to 64"),
    ],
)
async def test_an_idempotency_key_that_is_wrong_stores_nothing(
    alice: Person, key: str, request_id: str | None, said: str
) -> None:
    room = await alice.creates()
    body = {"chatmessage": "hi"} | ({"requestId": request_id} if request_id else {})
    path = f"/v1/chat/rooms/{room}/messages"
    answer = await alice.asks("POST", path, body, 400, headers={"Idempotency-Key": key})
    assert answer["error"]["code"] == "bad_request" and said in answer["error"]["message"]
    assert len(await alice.events(room)) == 1


# --- bodies -------------------------------------------------------------------------------------------

PATH = "/v1/chat/rooms/1/messages"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "truncated"),
        (b"{", "JSON"),
        (b"[]", "array"),
        (b'{"chatmessage":1}', "$.chatmessage"),
        (b"{}", "chatmessage"),
        (b'{"chatmessage":"x","requestId":5}', "$.requestId"),
        (b'{"chatmessage":"x","requestId":"short"}', "$.requestId"),
        (b'{"chatmessage":"\xff"}', "UTF-8"),
        (b'{"chatmessage":"\\udead"}', "surrogate"),
        (b'{"chatmessage":"bell \\u0007"}', "U+0007"),
        (b'{"chatmessage":"csi \\u009b"}', "U+009B"),
        (b'{"x":' + b"[" * 50_000, "deep"),
    ],
)
async def test_a_body_that_is_wrong_is_400(chat: Chat, alice: Person, body: bytes, said: str) -> None:
    headers = {**alice.headers, "Content-Type": "application/json"}
    code, message = await error_of(chat, "POST", PATH, 400, data=body, headers=headers)
    assert code == "bad_request" and said in message


async def test_a_body_that_is_too_large_is_413(chat: Chat, alice: Person) -> None:
    headers = {**alice.headers, "Content-Type": "application/json"}
    body = json.dumps({"chatmessage": "x" * 70_000})
    assert (await error_of(chat, "POST", PATH, 413, data=body, headers=headers))[0] == "too_large"


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml"])
async def test_a_body_that_is_not_json_is_415(chat: Chat, alice: Person, content_type: str) -> None:
    headers = {**alice.headers, "Content-Type": content_type}
    await error_of(chat, "POST", PATH, 415, data=b'{"chatmessage":"x"}', headers=headers)


async def test_a_body_that_comes_too_slowly_is_408(database_url: str) -> None:
    async with serving(settings_for(database_url, request_body_timeout_s=0.2)) as impatient:
        user = await impatient.sign_up()

        async def drip() -> Any:
            yield b'{"chatmessage":'
            await asyncio.sleep(5)
            yield b'"x"}'

        headers = {**user.headers, "Content-Type": "application/json"}
        code, _ = await error_of(impatient, "POST", PATH, 408, data=drip(), headers=headers)
        assert code == "request_timeout"
        await user.posts("the others are served")


@pytest.mark.parametrize("path", ["/v1", "/v1/chat/rooms/x", "/v1/chat/rooms/-1", "/v2/anything", "/v1/chat/rooms/1/"])
async def test_an_unknown_address_is_404(chat: Chat, alice: Person, path: str) -> None:
    assert (await error_of(chat, "GET", path, 404, headers=alice.headers))[0] == "not_found"


async def test_a_wrong_method_is_405_with_allow(chat: Chat, alice: Person) -> None:
    async with chat.http.patch("/v1/chat/rooms", headers=alice.headers) as response:
        assert response.status == 405
        assert response.headers["Allow"] == "GET, HEAD, POST"
        assert (await response.json())["error"]["code"] == "method_not_allowed"


async def test_unknown_fields_are_ignored(alice: Person) -> None:
    assert (await alice.posts("with more", chatuser="x@y.example", unheardOf={"a": [1]}))["chatuser"] == alice.email


# --- health -------------------------------------------------------------------------------------------


async def test_health_needs_no_token_and_lists_each_part(chat: Chat) -> None:
    assert await chat.asks("GET", "/health/live") == {"status": "ok"}
    assert await chat.asks("GET", "/health/ready") == {
        "status": "ok",
        "database": "ok",
        "broker": "ok",
        "worker": 1,
        "workers": [{"number": 1, "pid": os.getpid(), "state": "listening", "restarts": 0}],  # it alone
    }
