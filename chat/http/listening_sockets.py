"""The sockets that the server accepts connections on.

A port is not looked at before it is bound: another program could take it in between. It is bound and listened on in
one step, and whoever comes second gets an error.

Several workers share a port with the option SO_REUSEPORT: the kernel gives each new connection to one of their sockets.
It would do so for a second server of the same user, too, and nobody would see it. So the supervisor takes the port as
any server does, without the option, which one program can do; then it lets sockets with the option in, and holds the
port as long as it lives. A second server fails at the first step, and the kernel lets go however the supervisor ends.
"""

import errno
import re
import socket
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from chat.errors import OperatorError

PORT_TRIES = 100  # so many servers on one machine find a port of their own
NO_SUCH_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # of `localhost` on a machine without IPv6, for example


class CannotListen(OperatorError):
    """The address cannot be bound; the text says what to do."""


@contextmanager
def or_cannot_listen(host: str, port: int) -> Iterator[None]:
    """Raise `CannotListen` in the place of `OSError`."""
    try:
        yield
    except OSError as error:
        raise CannotListen(
            f"cannot listen on {host}:{port} ({error.strerror}); "
            "another program may have the port: choose one with PORT=…"
        ) from None


def ports_to_try(port: int, *, or_next: bool) -> range:
    """The port, and with `or_next` those after it."""
    return range(port, min(port + (PORT_TRIES if or_next else 1), 65_536))


def listen_on_first_free(host: str, ports: Iterable[int]) -> list[socket.socket]:
    """Listen on the first of the ports that no other program has.

    Raises `OSError`: that of the last port if all are taken.
    """
    taken: OSError | None = None
    for port in ports:
        try:
            return listen(host, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            taken = error
    raise taken or ValueError("no port is given")


def listen(host: str, port: int, *, shared: bool = False) -> list[socket.socket]:
    """Listen on the port at each address of the host. If one of them is taken, listen on none and raise `OSError`.

    shared: beside the other workers, on a port that the supervisor holds
    """
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            try:
                sockets.append(socket.create_server(address, family=family, reuse_port=shared))
            except OSError as error:
                if error.errno not in NO_SUCH_ADDRESS:
                    raise
                missing = error
        if missing and not sockets:
            raise missing
    except OSError:
        for each in sockets:
            each.close()
        raise
    return sockets


def hold_first_free(host: str, ports: Iterable[int]) -> list[socket.socket]:
    """Hold the first of the ports that no other program has, so that only workers can listen on it, with `shared`.

    No connection comes to these sockets, because they do not listen. Raises `OSError`.
    """
    held = []
    for listening in listen_on_first_free(host, ports):  # no other program has the port now
        with listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # lets the next one in
            holder = socket.socket(listening.family)
            held.append(holder)
            if holder.family == socket.AF_INET6:
                holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # as create_server does
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # beside closed connections of an earlier run
            holder.bind(listening.getsockname())
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)  # and beside no server that comes later
    return held


def url_of(bound: socket.socket) -> str:
    """The address of a server that listens where this socket is bound."""
    host, port, *_ = bound.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def announce(url: str) -> None:
    """Print the address to open, whatever the log level."""
    url = re.sub(r"//(0\.0\.0\.0|127\.0\.0\.1|\[::1?\])(?=:)", "//localhost", url)
    print(f"chat: listening on {url}, open it in a browser", file=sys.stderr, flush=True)
