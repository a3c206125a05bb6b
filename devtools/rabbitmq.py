"""A private RabbitMQ: one folder, one node, one password. Several may run side by side.

folder/url      amqp://chat:<random>@127.0.0.1:<port>/, for whoever may read it
folder/mnesia   its data, owned by the user that the server runs as
folder/log      its logs; `startup` is what it said before it could log
"""

import asyncio
import hashlib
import os
import secrets
import signal
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from devtools import packages as programs
from devtools import processes as machine
from devtools.processes import Answer, NotStarted

PORT = 5672
URL = f"amqp://guest:guest@127.0.0.1:{PORT}/"  # what a server on the standard port is asked with
PACKAGE, UNITS = "rabbitmq-server", ("rabbitmq-server", "epmd.service", "epmd.socket")
# Before PATH: Debian's wrapper there changes users and insists on the system's own folders.
FOLDERS = (
    "/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin",
    "/opt/homebrew/opt/rabbitmq/sbin",
    "/usr/local/opt/rabbitmq/sbin",
    "/opt/rabbitmq/sbin",
)
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/lib/erlang/bin:/opt/homebrew/bin"  # where erl and epmd may be
DISTRIBUTION_PORT, EPMD_PORT = 25_700, 4_400  # the first to try; beside the standard ones, which are others'
START_S = 60
CONNECT_S = 10.0
STOP_S = 30
# The user is made with the data, at the first start.
CONFIGURATION = """
listeners.tcp.1 = 127.0.0.1:{port}
default_user = chat
default_pass = {password}
"""


class PrivateRabbit:
    """`port` is where it shall listen; without one it is the remembered port, else a free one."""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.folder = folder.absolute()
        self.log = self.folder / "log" / "startup"
        # A node's name is unique on a machine, and so is a folder's.
        self.node = f"chat-{hashlib.sha256(str(self.folder).encode()).hexdigest()[:10]}@localhost"
        self._url = self.folder / "url"
        self._port = port

    def exists(self) -> bool:
        """Whether it was created before: then its data is here."""
        return self._url.exists() and (self.folder / "mnesia").exists()

    @property
    def url(self) -> str:
        """Where it listens and with which password; empty before the first start."""
        return self._url.read_text().strip() if self._url.exists() else ""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 0

    def is_running(self) -> bool:
        return self.node in machine.command_of(self._number("pid"))

    def bin(self) -> Path | None:
        """The folder with rabbitmq-server."""
        return next(programs.folders_with("rabbitmq-server", FOLDERS), None)

    def start(self) -> None:
        """Create it if it is new, start it unless it runs; it takes connections afterwards."""
        if not self.is_running():
            self._launch()
        machine.wait_until(lambda: not self.is_running() or machine.listens("127.0.0.1", self.port), START_S)
        if not self.is_running():
            raise NotStarted(f"RabbitMQ does not start; see {self.log} and the files beside it")
        if (answer := probe(self.url)) is not Answer.GOOD:
            raise NotStarted(f"RabbitMQ {answer.value} {self._url}; see the files beside {self.log}")

    def stop(self) -> None:
        """Durable queues and messages are on disk afterwards."""
        if self.is_running():
            os.kill(self._number("pid"), signal.SIGTERM)
            if not machine.wait_until(lambda: not self.is_running(), STOP_S):
                raise NotStarted(
                    f"RabbitMQ (process {self._number('pid')}) has not ended after {STOP_S} s; see {self.log}"
                )
        self._end_epmd()

    def _launch(self) -> None:
        folder = self.bin()
        if folder is None:
            raise NotStarted(f"RabbitMQ is not installed: install it (Debian: apt-get install {PACKAGE})")
        user = machine.server_user("rabbitmq")
        for each in (self.folder, self.folder / "mnesia", self.folder / "log"):
            each.mkdir(parents=True, exist_ok=True)
            machine.own(each, user, 0o700)
        self._end_epmd()  # of a node that was killed
        self._remember_url()
        self._write("epmd-port", str(machine.free_port(EPMD_PORT)), user)
        self._write("plugins", "[].\n", user)
        settings = CONFIGURATION.format(port=self.port, password=urlsplit(self.url).password)
        self._write("rabbitmq.conf", settings, user)
        # The node's name is there for is_running: the server finds its own in the environment.
        command = [str(folder / "rabbitmq-server"), "-noinput", "-chat", self.node]
        pid = machine.launch(command, user=user, folder=self.folder, log=self.log, env=self._environment())
        self._write("pid", str(pid), user)

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": PATH,
            "HOME": str(self.folder),  # of the cookie
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "none"),  # the system's is not for us
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "none.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_DIST_PORT": str(machine.free_port(DISTRIBUTION_PORT)),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_ALLOW_INPUT": "1",  # the script becomes the server, so that the pid is the server's
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._number("epmd-port")),
        }

    def _remember_url(self) -> None:
        password = urlsplit(self.url).password or secrets.token_hex(12)
        port = self._port or machine.free_port(self.port or PORT)
        self._url.touch(mode=0o600)
        self._url.write_text(f"amqp://chat:{password}@127.0.0.1:{port}/\n")

    def _end_epmd(self) -> None:
        """Erlang's name server outlives its node. It refuses to go while it serves another living one."""
        if port := self._number("epmd-port"):
            subprocess.run(["epmd", "-port", str(port), "-kill"], env={"PATH": PATH}, capture_output=True, check=False)
            (self.folder / "epmd-port").unlink(missing_ok=True)

    def _number(self, name: str) -> int:
        try:
            return int((self.folder / name).read_text())
        except (FileNotFoundError, ValueError):
            return 0

    def _write(self, name: str, text: str, user: str | None) -> None:
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(text)
        machine.own(path, user, 0o600)


def probe(url: str) -> Answer:
    """Whether the URL opens a connection."""
    parts = urlsplit(url)
    if not machine.listens(parts.hostname or "127.0.0.1", parts.port or PORT):
        return Answer.SILENT
    from chat.broker import rabbitmq as amqp

    return Answer.GOOD if asyncio.run(amqp.can_connect(url, CONNECT_S)) else Answer.REFUSED
