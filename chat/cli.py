"""The command line: parses arguments, configures logging, and calls what does the work. See `chat --help`."""

import argparse
import logging
import sys
from collections.abc import Callable
from typing import Any

from chat import config
from chat.errors import ChatError, OperatorError

# Each command imports what it needs, so that `chat db-status` does not load a web server.


def main(argv: list[str] | None = None) -> None:
    """Run a command. Exits with 1 and one line when it cannot be carried out."""
    args = _parser().parse_args(argv)
    run(args.command, args)


def run(command: Callable[[Any, config.Settings], None], args: argparse.Namespace) -> None:
    """Call a command with the settings. An error for the operator becomes one line and exit status 1."""
    try:
        settings = config.load()
        worker = getattr(args, "worker", None)
        log_to_stderr(settings.log_level, worker=worker if settings.workers > 1 else None)
        command(args, settings)
    except KeyboardInterrupt:
        sys.exit(130)
    except (OperatorError, ChatError) as error:
        sys.exit(f"chat: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="chat", description="A chat server: REST, websockets, a stock bot.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[Any, config.Settings], None], about: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=about, description=about)
        one.set_defaults(command=command)
        return one

    add("run", _run, "server and bot together, until Ctrl-C or SIGTERM")
    serve, bot = add("serve", _serve, "the server"), add("bot", _bot, "the stock bot")
    serve.add_argument("--or-next-port", action="store_true", help="if PORT is taken, listen on the next free one")
    serve.add_argument(
        "--worker", type=int, metavar="N", help="the supervisor's: be this one of WORKERS; see worker.py"
    )
    bot.add_argument("--until-eof", action="store_true", help="stop, as on SIGTERM, when standard input ends")
    add("db-migrate", _db_migrate, "apply new migrations")
    add("db-status", _db_status, "list the migrations")
    add("db-rollback", _db_rollback, "take back the last migration").add_argument(
        "--force", action="store_true", help="also if the database is not on this machine"
    )
    add("db-renew-epoch", _db_renew_epoch, "after a restore: make every client drop the numbers that it holds")
    return parser


def _run(args: argparse.Namespace, settings: config.Settings) -> None:
    from chat import supervisor

    # A port that the user set is the only one; the default makes way for a server that runs already.
    sys.exit(supervisor.run(settings, or_next_port=not config.is_set("PORT")))


def _serve(args: argparse.Namespace, settings: config.Settings) -> None:
    from chat import app, supervisor
    from chat.worker import Worker

    if args.worker is None and settings.workers > 1:
        sys.exit(supervisor.run(settings, bot=False, or_next_port=args.or_next_port))
    worker = None
    if args.worker is not None:
        worker = Worker(args.worker)
        worker.follow_supervisor()
    app.serve(settings, worker, or_next_port=args.or_next_port)


def _bot(args: argparse.Namespace, settings: config.Settings) -> None:
    from chat import worker
    from chat.bots import bot

    if args.until_eof:
        worker.stop_on_stdin_eof()
    bot.serve(settings)


def _db_migrate(args: argparse.Namespace, settings: config.Settings) -> None:
    from chat.db import migrations

    applied = migrations.apply(settings.database_url)
    print(f"applied {', '.join(applied)}" if applied else "the schema is up to date")


def _db_status(args: argparse.Namespace, settings: config.Settings) -> None:
    from chat.db import migrations

    for name, applied in migrations.status(settings.database_url):
        print("applied" if applied else "missing", name)


def _db_rollback(args: argparse.Namespace, settings: config.Settings) -> None:
    from chat.db import migrations

    migrations.check_local(settings.database_url, force=args.force)
    print("took back", ", ".join(migrations.rollback(settings.database_url)) or "nothing")


def _db_renew_epoch(args: argparse.Namespace, settings: config.Settings) -> None:
    from chat.db import pool

    print("the epoch is now", pool.run_alone(settings.database_url, "epoch/renew", str))


def log_to_stderr(level: str, *, worker: int | None = None) -> None:
    """Log what has at least this level, with the number of the worker. Some libraries are quieter than the rest."""
    who = f"[worker {worker}] " if worker else ""
    logging.basicConfig(level=level, format=f"%(asctime)s %(levelname)-7s {who}%(name)s: %(message)s")
    # These repeat what the server logs itself: at each try, or with the client's data.
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)
    logging.getLogger("aiohttp.websocket").setLevel(logging.ERROR)
    logging.getLogger("yoyo").setLevel(logging.WARNING)
