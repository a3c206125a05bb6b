"""`python -m devtools`: what a developer's machine needs and a server does not. The Makefile calls it."""

import argparse
import asyncio
from collections.abc import Callable
from typing import Any

from chat import cli
from chat.config import Settings
from chat.db import migrations
from devtools import schema, seed, services


def main(argv: list[str] | None = None) -> None:
    """Run a command. Exits with 1 and one line when it cannot be carried out."""
    args = _parser().parse_args(argv)
    cli.run(args.command, args)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m devtools", description="Services and data for local development.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[Any, Settings], None], about: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=about, description=about)
        one.set_defaults(command=command)
        return one

    add("services", lambda *_: services.up(), "find or start PostgreSQL and RabbitMQ, and write .env")
    add("services-stop", lambda *_: services.down(), "stop those that `services` started")
    add("db-new", _db_new, "begin a migration").add_argument("name", help="a few words: a-z, 0-9 and -")
    add("db-dump", _db_dump, "write sql/schema.sql from the migrations")
    add("db-seed", _db_seed, "add two people and a conversation")
    add("db-reset", _db_reset, "destroy everything and begin anew, with seed rows").add_argument(
        "--force", action="store_true", help="also if the database is not on this machine"
    )
    return parser


def _db_new(args: argparse.Namespace, settings: Settings) -> None:
    for path in schema.create_migration(args.name):
        print(path.relative_to(schema.ROOT))


def _db_dump(args: argparse.Namespace, settings: Settings) -> None:
    schema.DUMP.write_text(schema.dump(settings.database_url), encoding="utf-8")
    print("dumped sql/schema.sql")


def _db_seed(args: argparse.Namespace, settings: Settings) -> None:
    print(asyncio.run(seed.plant(settings)))


def _db_reset(args: argparse.Namespace, settings: Settings) -> None:
    migrations.check_local(settings.database_url, force=args.force)
    schema.reset(settings.database_url)
    print("created everything anew from sql/schema.sql")
    _db_seed(args, settings)


if __name__ == "__main__":
    main()
