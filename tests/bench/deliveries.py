"""What a delivery costs elsewhere, as references for *fanout*: nchan, and a plain C loop of send().

nchan is a module of nginx, written in C, that sends what is published over HTTP to websockets. It runs privately, in a
temporary folder. The loop is send_loop.c, compiled when it is needed: less than that a delivery cannot cost here.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.bench.environment import MeasuredServer, answers, child
from tests.bench.tools import installed, missing
from tests.bench.wires import InvalidRun, LoadClient, LoadClients, Witness, now
from tests.support.processes import free_port
from tests.support.websocket_bytes import upgrade_request

NGINX = "/usr/sbin/nginx"
MODULE = "/usr/lib/nginx/modules/ngx_nchan_module.so"
PACKAGES = ("nginx-light", "libnginx-mod-nchan")
CONFIGURATION = """
load_module {module};
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder};
    scgi_temp_path {folder};
    keepalive_requests 1000000;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location = / {{ return 200; }}
        location = /subscribe {{ nchan_subscriber websocket; nchan_channel_id room; }}
        location = /publish {{ nchan_publisher; nchan_channel_id room; }}
    }}
}}
"""
SOURCE = Path(__file__).with_name("send_loop.c")
WAIT_S = 10.0


@contextmanager
def send_loop(size: int) -> Iterator[MeasuredServer | None]:
    """The loop, for frames of `size` bytes, speaking like the reference `broadcast`; None without gcc."""
    if shutil.which("gcc") is None:
        missing("gcc")
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="send-loop-") as folder:
        program, port = f"{folder}/send_loop", free_port()
        subprocess.run(["gcc", "-O2", "-o", program, str(SOURCE)], check=True)
        with child([program, str(port), str(size)], {}) as process:
            answers(process, port)
            yield MeasuredServer([process.pid], [port])


class Nchan:
    """nchan with its subscribers and one publisher."""

    def __init__(self, server: MeasuredServer, load: LoadClients, sockets: int) -> None:
        self._server, self._load = server, load
        self._subscribers = load.open([upgrade_request("/subscribe")] * sockets, hello=False)
        self._publisher = load.plain()

    def cpu_s(self, size: int, seconds: float) -> float:
        """CPU seconds a delivery of `size` bytes. A message follows when the one before it is answered and there."""
        request = f"POST /publish HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {size}\r\n\r\n{'x' * size}".encode()
        for client in self._subscribers:
            client.got = 0
        witness, said = Witness(self._subscribers[-1]), 0
        before, end = self._server.spent(), now() + seconds
        while now() < end:
            self._load.exchange([(self._publisher, request)], _is_answer)
            said += 1
            self._until([witness.client], said * (size + 4), end + WAIT_S)
        self._until(self._subscribers, said * (size + 4), end + WAIT_S)
        spent = self._server.spent() - before
        if witness.count != said or any(client.got != said * (size + 4) for client in self._subscribers):
            raise InvalidRun(f"nchan did not deliver {said} messages to each")
        return spent.server / said / len(self._subscribers)

    def _until(self, clients: Sequence[LoadClient], size: int, deadline: float) -> None:
        while any(client.got < size for client in clients):
            self._load.pull(0.05)
            if now() > deadline:
                raise InvalidRun("nchan did not deliver everything")


@contextmanager
def nchan(sockets: int) -> Iterator[Nchan | None]:
    """nchan with so many subscribers; None where it cannot be had."""
    if not installed("nchan", (NGINX, MODULE), PACKAGES, ("nginx",)):
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="nchan-") as folder:
        port, configuration = free_port(), Path(folder) / "nginx.conf"
        configuration.write_text(CONFIGURATION.format(module=MODULE, folder=folder, port=port))
        with child([NGINX, "-p", folder, "-c", str(configuration)], {}) as process:
            answers(process, port)
            server = MeasuredServer([process.pid], [port])
            with LoadClients(port) as load:
                yield Nchan(server, load, sockets)


def _is_answer(heard: bytearray) -> bool:
    """Whether this is the whole answer to what was published: it comes at once, with a few lines as its body."""
    head, end, body = bytes(heard).partition(b"\r\n\r\n")
    if end and not head.startswith((b"HTTP/1.1 201", b"HTTP/1.1 202")):
        raise InvalidRun(f"nchan refused: {head!r}")
    return bool(body)
