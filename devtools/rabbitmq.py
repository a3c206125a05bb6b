"""A private RabbitMQ: one folder, one node, one password. Several can run side by side.

folder/url          amqp://chat:<random>@127.0.0.1:<port>/; only its owner may read it
folder/former-urls  the same on the ports that it had before
folder/mnesia       its data, owned by the user that the server runs as
folder/log          its logs; `startup` is the output from before it opened them
"""

import asyncio
import hashlib
import os
import secrets
import signal
import subprocess
import zlib
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from devtools import packages, processes
from devtools.processes import ProbeResult, ServiceError
from devtools.url_file import UrlFile

PORT = 5672
DEFAULT_URL = f"amqp://guest:guest@127.0.0.1:{PORT}/"  # the credentials to try on the standard port
PACKAGE, UNITS = "rabbitmq-server", ("rabbitmq-server", "epmd.service", "epmd.socket")
# Searched before PATH: Debian's wrapper there changes the user and insists on the system's own folders.
FOLDERS = (
    "/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin",
    "/opt/homebrew/opt/rabbitmq/sbin",
    "/usr/local/opt/rabbitmq/sbin",
    "/opt/rabbitmq/sbin",
)
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/lib/erlang/bin:/opt/homebrew/bin"  # where erl and epmd may be
# The first ports to try. They are not the standard ones, which another RabbitMQ on this machine would use. Each node
# adds a number of its own, so that nodes that start at the same moment seldom want the same ports.
DISTRIBUTION_PORT, EPMD_PORT, SPREAD = 25_700, 4_400, 100
# How a node says that another program has its port, or that its epmd was another node's and was stopped with that.
LOST_PORT = ("eaddrinuse", "dist_port_already_used", "register/listen error")
START_TIMEOUT_S = 60
CONNECT_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 30
EPMD_TIMEOUT_S = 2
# RabbitMQ creates the default user together with the data, at the first start.
CONFIGURATION = """
listeners.tcp.1 = 127.0.0.1:{port}
default_user = chat
default_pass = {password}
"""


class PrivateRabbit:
    """A RabbitMQ node in a folder of its own.

    port: where to listen; by default the port of the last start, or a free one.
    """

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.folder = folder.absolute()
        self.log = self.folder / "log" / "startup"
        # A node's name has to be unique on its machine, and so is a folder's path.
        self.node = f"chat-{hashlib.sha256(str(self.folder).encode()).hexdigest()[:10]}@localhost"
        self._url = UrlFile(self.folder)
        self._port = port

    def exists(self) -> bool:
        """Whether an earlier start created it, with data."""
        return self._url.exists() and (self.folder / "mnesia").exists()

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

    @property
    def epmd_port(self) -> int:
        """Where this node's own epmd, Erlang's name server, listens; 0 if there is none."""
        return self._read_number("epmd-port")

    def is_running(self) -> bool:
        return self.node in processes.command_of(self._read_number("pid"))

    def bin(self) -> Path | None:
        """The folder with rabbitmq-server."""
        return next(packages.folders_with("rabbitmq-server", FOLDERS), None)

    def start(self) -> None:
        """Create the server if it is new and start it unless it runs. It accepts connections afterwards.

        If another program has one of its ports, it gets another one. Raises `ServiceError`.
        """
        for _ in range(processes.PORT_TRIES):
            log_size = self.log.stat().st_size if self.log.exists() else 0
            if not self.is_running():
                self._launch()
            # What listens may be another program that took the port: then the node ends soon.
            processes.wait_until(
                lambda: not self.is_running() or probe(self.url) is ProbeResult.ACCEPTED, START_TIMEOUT_S
            )
            if self.is_running() or not self._has_lost_a_port(log_size):
                break
        if not self.is_running():
            raise ServiceError(f"RabbitMQ does not start. The reason is in {self.log} or in the files beside it.")
        if (result := probe(self.url)) is not ProbeResult.ACCEPTED:
            raise ServiceError(
                f"RabbitMQ {result.value} the URL in {self._url.path}. The reason is in the files beside {self.log}."
            )

    def stop(self) -> None:
        """Stop the server. Durable queues and their messages are on disk afterwards. Raises `ServiceError`."""
        if self.is_running():
            pid = self._read_number("pid")
            os.kill(pid, signal.SIGTERM)
            if not processes.wait_until(lambda: not self.is_running(), STOP_TIMEOUT_S):
                raise ServiceError(
                    f"RabbitMQ (process {pid}) has not stopped after {STOP_TIMEOUT_S} s. The reason is in {self.log}."
                )
        self._stop_epmd()

    def _launch(self) -> None:
        folder = self.bin()
        if folder is None:
            raise ServiceError(f"RabbitMQ is not installed. Install it (Debian: apt-get install {PACKAGE}).")
        user = processes.server_user("rabbitmq")
        for each in (self.folder, self.folder / "mnesia", self.folder / "log"):
            each.mkdir(parents=True, exist_ok=True)
            processes.chown(each, user, 0o700)
        self._stop_epmd()  # it outlives a node that was killed
        self._write_url()
        spread = zlib.crc32(self.node.encode()) % SPREAD
        self._write("epmd-port", str(processes.free_port(EPMD_PORT + spread)), user)
        self._write("distribution-port", str(processes.free_port(DISTRIBUTION_PORT + spread)), user)
        self._write("plugins", "[].\n", user)
        configuration = CONFIGURATION.format(port=self.port, password=urlsplit(self.url).password)
        self._write("rabbitmq.conf", configuration, user)
        # The node takes its name from the environment; on the command line it only serves `is_running`.
        command = [str(folder / "rabbitmq-server"), "-noinput", "-chat", self.node]
        pid = processes.launch(command, user=user, folder=self.folder, log=self.log, env=self.environment())
        self._write("pid", str(pid), user)

    def _has_lost_a_port(self, log_size: int) -> bool:
        """Whether the node ended because a port was no longer free when it wanted to listen, and another may be.

        log_size: how long the log was before the node was started
        """
        if self._port and not processes.is_free(self._port):
            return False  # it may use no other
        output = self.log.read_bytes()[log_size:].decode(errors="replace")
        return any(reason in output for reason in LOST_PORT)

    def environment(self) -> dict[str, str]:
        return {
            "PATH": PATH,
            "HOME": str(self.folder),  # Erlang keeps its cookie there
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "none"),  # instead of the system's
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "none.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_DIST_PORT": str(self._read_number("distribution-port")),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_ALLOW_INPUT": "1",  # makes the script exec the server, so that the pid is the server's
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self.epmd_port),
        }

    def _write_url(self) -> None:
        password = urlsplit(self.url).password or secrets.token_hex(12)
        port = self._port or processes.free_port(self.port or PORT)
        self._url.write(f"amqp://chat:{password}@127.0.0.1:{port}/")

    def _stop_epmd(self) -> None:
        """Stop Erlang's name server, which outlives its node. It does not stop while it serves another node.

        Another program may have the port by now: it gets a few bytes that it does not understand.
        """
        if port := self.epmd_port:
            epmd = ["epmd", "-port", str(port), "-kill"]
            with suppress(subprocess.TimeoutExpired):
                subprocess.run(epmd, env={"PATH": PATH}, capture_output=True, timeout=EPMD_TIMEOUT_S, check=False)
            processes.wait_until(lambda: processes.is_free(port), EPMD_TIMEOUT_S)
            (self.folder / "epmd-port").unlink(missing_ok=True)

    def _read_number(self, name: str) -> int:
        try:
            return int((self.folder / name).read_text())
        except (FileNotFoundError, ValueError):
            return 0

    def _write(self, name: str, text: str, user: str | None) -> None:
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(text)
        processes.chown(path, user, 0o600)


def probe(url: str) -> ProbeResult:
    """Try to open a connection with the URL."""
    parts = urlsplit(url)
    if not processes.listens(parts.hostname or "127.0.0.1", parts.port or PORT):
        return ProbeResult.SILENT
    from chat.broker import rabbitmq as amqp

    return ProbeResult.ACCEPTED if asyncio.run(amqp.can_connect(url, CONNECT_TIMEOUT_S)) else ProbeResult.REFUSED
