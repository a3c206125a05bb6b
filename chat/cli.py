"""The command line: `chat serve`, `chat bot`, `chat run` (both), and what a developer needs. See `chat --help`."""

import argparse
import asyncio
import gc
import logging
import os
import re
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

from chat import config
from chat.errors import ChatError, Told

# Each command imports what it needs: `chat services` should not load a web server.

log = logging.getLogger("chat.cli")

SHUTDOWN_S = 1.0  # for requests still being answered at a stop; the writes among them are answered before
STOP_S = 30  # children that were told to stop have until then, which is several times what they need
KEEPALIVE_S = 15.0
GARBAGE = 50_000  # objects made between two looks for dead cycles: they are few here, and the living many
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, a supervisor, a closed terminal


class Usage(Told):
    """The command cannot be carried out; the text says why."""


def main(argv: list[str] | None = None) -> None:
    """Runs a command; exits with 1 and one line when it cannot."""
    args = _parser().parse_args(argv)
    try:
        settings = config.load()
        _log_to_stderr(settings.log_level)
        args.command(args, settings)
    except KeyboardInterrupt:
        sys.exit(130)
    except (Told, ChatError) as error:
        sys.exit(f"chat: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="chat", description="A chat server: REST, websockets, a stock robot.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[Any, config.Settings], None], about: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=about, description=about)
        one.set_defaults(command=command)
        return one

    add("run", _run, "server and robot together, until Ctrl-C or SIGTERM")
    for one in (add("serve", _serve, "the server"), add("bot", _bot, "the stock robot")):
        one.add_argument("--until-eof", action="store_true", help="stop, as on SIGTERM, when standard input ends")
    add("services", _services, "find or start PostgreSQL and RabbitMQ")
    add("services-stop", _services_stop, "stop those that `services` started")
    add("db-apply", _db_apply, "apply new migrations")
    add("db-migrate", _db_migrate, "apply new migrations and dump sql/schema.sql")
    add("db-status", _db_status, "list the migrations")
    add("db-rollback", _db_rollback, "take back the last migration").add_argument("--force", action="store_true")
    add("db-reset", _db_reset, "destroy everything and begin anew, with seed rows").add_argument(
        "--force", action="store_true", help="also if the database is not on this machine"
    )
    add("db-seed", _db_seed, "add two people and a conversation")
    add("db-epoch", _db_epoch, "begin a new epoch: after a restore, so that no client trusts its numbers")
    add("db-new", _db_new, "begin a migration").add_argument("name", help="a few words: a-z, 0-9 and -")
    return parser


# --- running ------------------------------------------------------------------------------------------


def _serve(args: argparse.Namespace, settings: config.Settings) -> None:
    from aiohttp import web

    from chat.app import make_app
    from chat.middleware import AccessLogger, without_request

    _stop_with_the_input(args)
    logging.getLogger("aiohttp.server").addFilter(without_request)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each socket takes a file; the usual limit is 1,024
    gc.freeze()  # what is imported stays: nobody need look at it again
    gc.set_threshold(GARBAGE)
    app = make_app(settings)
    app.on_startup.append(_heed_a_stop)
    try:
        web.run_app(
            app,
            host=settings.host,
            port=settings.port,
            print=_announce,
            access_log_class=AccessLogger,
            access_log=logging.getLogger("chat.access"),
            handle_signals=True,
            shutdown_timeout=SHUTDOWN_S,
            keepalive_timeout=KEEPALIVE_S,
        )
    except OSError as error:
        raise Usage(
            f"cannot listen on {settings.host}:{settings.port} ({error.strerror}); "
            "another program may have the port: choose one with PORT=…"
        ) from None


async def _heed_a_stop(_: object) -> None:
    """The last step of the start. A signal cancels the start; before Python 3.12 asyncio.wait_for, and with it aiopg,
    swallows a cancel that comes with its result. Cancelled once more, run_app stops in good order."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        task.cancel()


def _bot(args: argparse.Namespace, settings: config.Settings) -> None:
    from chat import bot
    from chat.brokers import make_broker

    if settings.local_broker:
        raise Usage("with AMQP_URL=local: the robot lives in the server; there is nothing to start")
    _stop_with_the_input(args)

    async def serve() -> None:
        stop = asyncio.Event()
        for number in STOPS:
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        broker = make_broker(settings.amqp_url, prefix=settings.amqp_prefix, durable=settings.robot_queues_durable)
        await bot.run(broker, settings, stop)

    asyncio.run(serve())


def _run(args: argparse.Namespace, settings: config.Settings) -> None:
    """Starts both as children and ends when either does; a signal goes to both. If it is killed, their
    standard input ends, and so do they."""
    settings.signing()
    names = ["serve"] if settings.local_broker else ["serve", "bot"]
    stopping = False
    children: list[subprocess.Popen[bytes]] = []
    told: list[subprocess.Popen[bytes]] = []

    def stop(*_: object) -> None:
        nonlocal stopping
        if not stopping:
            signal.alarm(STOP_S)
        stopping = True
        for child in children:
            if child not in told and child.poll() is None:
                told.append(child)  # once: a second signal would cut its stop short
                child.terminate()

    def kill(*_: object) -> None:
        for child in children:
            if child.poll() is None:
                log.error("process %d does not stop: it is killed", child.pid)
                child.kill()

    for number in STOPS:
        signal.signal(number, stop)
    signal.signal(signal.SIGALRM, kill)
    theirs, _ = os.pipe()  # nobody writes; our end is closed when this process ends, however it does
    for name in names:
        # A session of its own: Ctrl-C reaches this process alone, which then ends them in good order.
        command = [sys.executable, "-m", "chat", name, "--until-eof"]
        children.append(subprocess.Popen(command, stdin=theirs, start_new_session=True))
    os.close(theirs)
    if stopping:  # the signal came while a child was being born
        stop()
    os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
    failed = not stopping
    if failed:  # one died by itself: the other goes with it
        stop()
    ends = {child.wait() for child in children}
    good = {0, -signal.SIGTERM}  # the latter, when a child had not even begun to listen to signals
    sys.exit(1 if failed or ends - good else 0)


def _stop_with_the_input(args: argparse.Namespace) -> None:
    """With --until-eof: who started this holds the other end of its input, and is gone when that ends."""

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 1024):
            pass
        log.warning("standard input has ended: stopping")
        os.kill(os.getpid(), signal.SIGTERM)

    if args.until_eof:
        threading.Thread(target=watch, daemon=True).start()


# --- services and database ----------------------------------------------------------------------------


def _services(args: argparse.Namespace, settings: config.Settings) -> None:
    from chat import services

    services.up()


def _services_stop(args: argparse.Namespace, settings: config.Settings) -> None:
    from chat import services

    services.down()


def _db_apply(args: argparse.Namespace, settings: config.Settings) -> None:
    from chat import schema

    applied = schema.apply(settings.database_url)
    print(f"applied {', '.join(applied)}" if applied else "the schema is up to date")


def _db_migrate(args: argparse.Namespace, settings: config.Settings) -> None:
    from chat import schema

    _db_apply(args, settings)
    schema.DUMP.write_text(schema.dump(settings.database_url), encoding="utf-8")
    print("dumped sql/schema.sql")


def _db_status(args: argparse.Namespace, settings: config.Settings) -> None:
    from chat import schema

    for name, applied in schema.status(settings.database_url):
        print("applied" if applied else "missing", name)


def _db_rollback(args: argparse.Namespace, settings: config.Settings) -> None:
    from chat import schema

    _check_local(settings, args.force)
    print("took back", ", ".join(schema.rollback(settings.database_url)) or "nothing")


def _db_reset(args: argparse.Namespace, settings: config.Settings) -> None:
    from chat import schema

    _check_local(settings, args.force)
    schema.reset(settings.database_url)
    print("created everything anew from sql/schema.sql")
    _db_seed(args, settings)


def _db_seed(args: argparse.Namespace, settings: config.Settings) -> None:
    from chat import seed

    print(asyncio.run(seed.plant(settings)))


def _db_epoch(args: argparse.Namespace, settings: config.Settings) -> None:
    from chat.db import Database

    async def renew() -> str:
        db = Database(settings.database_url, size=1, name="epoch")
        await db.open()
        try:
            return str(await db.value("epoch/renew"))
        finally:
            await db.close()

    print("the epoch is now", asyncio.run(renew()))


def _db_new(args: argparse.Namespace, settings: config.Settings) -> None:
    from chat import schema

    for path in schema.new(args.name):
        print(path.relative_to(schema.ROOT))


def _check_local(settings: config.Settings, force: bool) -> None:
    from chat import schema

    host = schema.host(settings.database_url)
    if not force and host not in ("localhost", "127.0.0.1", "::1") and not host.startswith("/"):
        raise Usage(f"the database is on {host}, not on this machine: this needs --force (make … FORCE=1)")


# --- words --------------------------------------------------------------------------------------------


def _announce(banner: str) -> None:
    """Tells where to go, whatever the log's level: aiohttp's banner has the addresses that were bound."""
    address = re.findall(r"https?://\S+", banner)[0]
    address = re.sub(r"//(0\.0\.0\.0|127\.0\.0\.1|\[::1?\])(?=:)", "//localhost", address)
    print(f"chat: listening on {address}, open it in a browser", file=sys.stderr, flush=True)


def _log_to_stderr(level: str) -> None:
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    # These say what we say ourselves, at each try or with the client's data.
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)
    logging.getLogger("aiohttp.websocket").setLevel(logging.ERROR)
    logging.getLogger("yoyo").setLevel(logging.WARNING)
