"""chat/app.py: starting, running without some part, stopping."""

import asyncio
import contextlib
import signal
import socket
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import psycopg2
import pytest

from chat.app import make_app
from chat.config import ConfigError
from chat.db import migrations
from chat.http import app_keys as keys
from chat.lifecycle import StartupError
from chat.protocol.frames import MAX_IN_FLIGHT_WRITES
from devtools import schema
from tests.support.client import GENERAL, Frame, WebsocketClient
from tests.support.names import unique
from tests.support.processes import free_port
from tests.support.server import process, serving
from tests.support.settings import settings_for
from tests.support.waiting import eventually
from tests.support.websocket_bytes import RawWebsocket, upgrade_request


def test_making_the_application_opens_nothing() -> None:
    app = make_app(settings_for("postgresql://user@192.0.2.1/nothing", amqp_url="amqp://192.0.2.1/"))
    assert len(list(app.router.routes())) > 15


@pytest.mark.parametrize("secret", ["", "short", "x" * 31])
def test_without_a_secret_of_32_bytes_there_is_no_application(secret: str) -> None:
    with pytest.raises(ConfigError, match="JWT_SECRET"):
        make_app(settings_for("postgresql://x/x", jwt_secret=secret))


# --- starting -----------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_without_postgresql_the_start_waits_and_then_gives_up() -> None:
    url = f"postgresql://chat:chat@127.0.0.1:{free_port()}/chat"
    settings = settings_for(url, db_startup_timeout_s=1.5)
    async with process("serve", settings) as server:
        assert await server.ended() == 1
        waits = [line for line in server.lines if "waiting for PostgreSQL" in line]
        assert 1 <= len(waits) <= 3
        assert "check DATABASE_URL" in server.lines[-1]
        assert "chat:chat" not in "".join(server.lines)


async def test_a_schema_that_is_older_or_newer_is_refused(database_url: str) -> None:
    with schema.scratch(database_url) as url:
        with pytest.raises(StartupError, match=r"older.*make db-migrate"):
            async with serving(settings_for(url)):
                pass
        migrations.apply(url)
        migrations.rollback(url)
        with pytest.raises(StartupError, match=rf"older than the code \(without {migrations.migration_names()[-1]}\)"):
            async with serving(settings_for(url)):
                pass
        migrations.apply(url)
        with contextlib.closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO _yoyo_migration (migration_hash, migration_id, applied_at_utc) "
                "VALUES ('x', '9999.x', now())"
            )
        with pytest.raises(StartupError, match=r"newer than the code \(with 9999.x\)"):
            async with serving(settings_for(url)):
                pass


async def test_without_the_broker_the_server_starts_degraded_and_chats(database_url: str) -> None:
    settings = settings_for(database_url, amqp_url=f"amqp://guest:guest@127.0.0.1:{free_port()}/")
    async with serving(settings) as chat:
        ready = await chat.asks("GET", "/health/ready")
        assert (ready["status"], ready["database"], ready["broker"]) == ("degraded", "ok", "unavailable")
        alice = await chat.sign_up("alice")
        client = await alice.connects()
        room = await alice.creates()
        await client.resume(room)
        await alice.posts("by the poll", room)
        await client.hears("by the poll", seq=2)
        answer = await alice.posts("/stock=AAPL.US", room, status=503)
        assert answer["error"]["code"] == "unavailable"


async def test_with_the_memory_broker_the_bot_runs_in_the_server(database_url: str) -> None:
    async with serving(settings_for(database_url, amqp_url="memory:", stock_url="http://127.0.0.1:9/{code}")) as chat:
        assert (await chat.asks("GET", "/health/ready"))["status"] == "ok"
        alice = await chat.sign_up("alice")
        client = await alice.connects()
        room = await alice.creates()
        await client.resume(room)
        await alice.posts("/stock=AAPL.US", room, status=202)
        await client.hears("Stock service is not available", username="robot")


async def test_a_fault_in_our_sql_is_logged_and_reported_as_internal(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with schema.scratch(database_url) as url:
        schema.reset(url)
        async with serving(settings_for(url)) as chat:
            alice = await chat.sign_up("alice")
            with contextlib.closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
                cursor.execute("ALTER TABLE users RENAME COLUMN created_at TO gone")
            answer = await alice.asks("GET", "/v1/users/me", status=500)
            assert answer["error"]["code"] == "internal"
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [
        'PostgreSQL rejects sql/users/get.sql: 42703 column "created_at" does not exist'
    ]


# --- sockets and time ---------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_socket_ends_when_its_token_expires(database_url: str) -> None:
    async with serving(settings_for(database_url, access_token_ttl_s=1.5)) as chat:
        client = await (await chat.sign_up()).connects()
        assert await client.closed() == 4001


@pytest.mark.slow
async def test_a_peer_that_does_not_answer_pings_is_dropped(database_url: str) -> None:
    async with serving(settings_for(database_url, ping_interval_s=0.2, ping_timeout_s=1.0)) as chat:
        alice = await chat.sign_up("alice")
        bob = await chat.sign_up("bob")
        stays = await bob.connects()
        hub = chat.app[keys.BACKEND].hub
        port = int(chat.base_url.rsplit(":", 1)[1])
        async with RawWebsocket.connect(port, upgrade_request(token=alice.token)):  # it answers nothing
            await eventually(lambda: alice.id in hub.users())
            await eventually(lambda: alice.id not in hub.users())
        assert bob.id in hub.users()
        await stays.round_trip()


async def write(client: WebsocketClient) -> Frame:
    """Send a message and return the ack or the error."""
    request_id = unique("write")
    await client.says("a message", requestId=request_id)
    return await client.expect(requestId=request_id)


async def test_a_client_that_sends_too_fast_gets_an_error_and_is_then_disconnected(database_url: str) -> None:
    async with serving(settings_for(database_url, rate_limit_per_s=2.0)) as chat:
        alice = await chat.sign_up("alice")
        client = await alice.connects()
        acked = 0
        while (answer := await write(client))["type"] == 13:
            acked += 1
        assert acked >= 10, "a burst passes"
        assert answer["code"] == "rate_limited" and 0 < answer["retryMs"] <= 1000
        await asyncio.sleep(answer["retryMs"] / 1000)
        await client.says("slower now", requestId="slow-now-1")
        await client.expect(type=13, requestId="slow-now-1")
        for _ in range(200):
            await client.says("too fast")
        assert await client.closed() == 1008
        assert len([event for event in await alice.events(GENERAL) if event["userId"] == alice.id]) < 100


async def test_bad_frames_count_against_the_rate(database_url: str) -> None:
    async with serving(settings_for(database_url, rate_limit_per_s=2.0)) as chat:
        client = await (await chat.sign_up()).connects()
        for _ in range(250):
            await client.send("{")
        assert await client.closed() == 1008
        codes = [frame["code"] for frame in client.heard if frame["type"] == 14]
        assert codes[:10] == ["bad_request"] * 10 and "rate_limited" in codes


async def test_a_client_that_stops_reading_is_disconnected_alone(database_url: str) -> None:
    """When its buffer passes the limit, the others go on and its memory is given back."""
    async with serving(settings_for(database_url, send_buffer_limit_bytes=65_536)) as chat:
        alice, bob = await chat.sign_up("alice"), await chat.sign_up("bob")
        hub = chat.app[keys.BACKEND].hub
        _, writer = await asyncio.open_connection("127.0.0.1", int(chat.base_url.rsplit(":", 1)[1]), limit=1024)
        writer.write(upgrade_request(f"/v1/ws?token={bob.token}"))
        await eventually(lambda: bob.id in hub.users())
        client = await alice.connects()
        await client.resume(GENERAL, after=0)
        sent = 0
        while bob.id in hub.users():
            assert sent < 10_000, "it was never disconnected"
            await asyncio.gather(*(alice.posts("x" * 4000) for _ in range(20)))
            sent += 20
        mark = unique("mark")
        await alice.posts(mark)
        await client.hears(mark)
        writer.transport.abort()


# --- stopping -----------------------------------------------------------------------------------------


async def test_a_stopping_server_is_not_ready_and_accepts_no_websocket(database_url: str) -> None:
    async with serving(settings_for(database_url)) as chat:
        alice = await chat.sign_up("alice")
        chat.app[keys.STATE].stopping = True
        assert (await chat.asks("GET", "/health/ready", status=503))["status"] == "stopping"
        assert (await chat.asks("GET", "/health/live"))["status"] == "ok"
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await alice.connects()
        assert caught.value.status == 503


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_within_ten_seconds_with_exit_0(database_url: str, number: signal.Signals) -> None:
    async with process("serve", settings_for(database_url)) as server, server.client() as chat:
        alice = await chat.sign_up("alice")
        clients = [await alice.connects(v2=v2) for v2 in (True, False)]
        server.signal(number)
        assert [await client.closed() for client in clients] == [1012, 1012]
        assert await server.ended(within_s=10) == 0
        assert not [line for line in server.lines if "Traceback" in line or "ERROR" in line]


@pytest.mark.slow
async def test_many_writes_of_one_websocket_leave_the_writer_to_the_others(database_url: str) -> None:
    """1,000 writes into a room that is locked: at most 256 of them wait at once, and another room is not delayed."""
    async with serving(settings_for(database_url, rate_limit_per_s=0.0)) as chat:
        alice, bob = await chat.sign_up("alice"), await chat.sign_up("bob")
        noisy, quiet = await alice.creates(), await bob.creates()
        storm, calm = await alice.connects(), await bob.connects()
        await calm.resume(quiet)
        writer = chat.app[keys.WRITER]
        unfinished = []
        with contextlib.closing(psycopg2.connect(database_url)) as other, other.cursor() as cursor:
            cursor.execute("SELECT 1 FROM rooms WHERE id = %s FOR UPDATE", [noisy])
            for number in range(1_000):
                await storm.says(f"{number}", noisy, requestId=f"storm-{number:04}")
                unfinished.append(writer.unfinished)
            for number in range(20):
                await calm.says(f"{number}", quiet, requestId=f"calm-{number:04}")
                await calm.hears(f"{number}")
                unfinished.append(writer.unfinished)
        assert 0 < max(unfinished) <= MAX_IN_FLIGHT_WRITES + 1, (
            f"{max(unfinished)} writes of one socket filled the queue"
        )
        await eventually(lambda: sum(frame["type"] in (13, 14) for frame in storm.heard) == 1_000, within_s=20)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux disconnects clients that read nothing")
async def test_a_client_that_requests_large_pages_and_reads_nothing_is_disconnected(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.http.slow_peers.TCP_USER_TIMEOUT_S", 1)
    async with serving(settings_for(database_url, rate_limit_per_s=0.0)) as chat:
        alice = await chat.sign_up("alice")
        room = await alice.creates()
        client = await alice.connects()
        for number in range(200):
            await client.says(f"{number} {'ü' * 3_900}", room, requestId=f"large-{number:04}")
        await eventually(lambda: sum(frame["type"] == 13 for frame in client.heard) == 200)
        loop = asyncio.get_running_loop()
        with socket.socket() as reader:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.setblocking(False)
            await loop.sock_connect(reader, ("127.0.0.1", urlsplit(str(chat.base_url)).port))
            path = f"/v1/chat/rooms/{room}/messages?limit=200"
            head = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {alice.token}\r\n\r\n"
            await loop.sock_sendall(reader, head.encode() * 5)
            port = reader.getsockname()[1]
            assert is_open(port)
            await eventually(lambda: not is_open(port), within_s=20)
        await client.round_trip()


def is_open(port: int) -> bool:
    """Whether this machine has an open connection whose other end is at `port`."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(line[3] == "01" and line[2].endswith(f":{port:04X}") for line in lines)
