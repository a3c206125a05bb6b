"""`python -m devtools`: commands for a developer's machine, which a server does not need. The Makefile calls them."""

import argparse
import asyncio
from collections.abc import Callable
from typing import Any

from chat import cli
from chat.config import Settings
from chat.db import migrations
from devtools import schema, seed, services


def main(argv: list[str] | None = None) -> None:
    """Run a command. If it fails, exit with status 1 and one line that says why."""
    args = _parser().parse_args(argv)
    cli.run(args.command, args)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m devtools", description="Services and data for local development.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[Any, Settings], None], about: str) -> argparse.ArgumentParser:
        subparser = commands.add_parser(name, help=about, description=about)
        subparser.set_defaults(command=command)
        return subparser

    add("services", lambda *_: services.up(), "find or start PostgreSQL and RabbitMQ, and write .env")
    add("services-stop", lambda *_: services.down(), "stop the servers that `services` started")
    add("db-new", _db_new, "create a migration").add_argument("name", help="a few words: a-z, 0-9 and -")
    add("db-dump", _db_dump, "write sql/schema.sql from the migrations")
    add("db-seed", _db_seed, "add two users and a conversation")
    add("db-reset", _db_reset, "destroy all data, create the schema again and seed it").add_argument(
        "--force", action="store_true", help="also for a database on another machine"
    )
    return parser


def _db_new(args: argparse.Namespace, settings: Settings) -> None:
    for path in schema.create_migration(args.name):
        print(path.relative_to(schema.ROOT))


def _db_dump(args: argparse.Namespace, settings: Settings) -> None:
    schema.DUMP.write_text(schema.dump(settings.database_url), encoding="utf-8")
    print("wrote sql/schema.sql")


def _db_seed(args: argparse.Namespace, settings: Settings) -> None:
    print(asyncio.run(seed.seed(settings)))


def _db_reset(args: argparse.Namespace, settings: Settings) -> None:
    migrations.check_local(settings.database_url, force=args.force)
    schema.reset(settings.database_url)
    print("created the schema again from sql/schema.sql")
    _db_seed(args, settings)


if __name__ == "__main__":
    main()
