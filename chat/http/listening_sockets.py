"""The sockets that the server accepts connections on.

A port is not looked at before it is bound: another program could take it in between. It is bound and listened on in
one step, and whoever comes second gets an error.
"""

import errno
import socket
from collections.abc import Iterable

NO_SUCH_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # of `localhost` on a machine without IPv6, for example


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


def listen(host: str, port: int) -> list[socket.socket]:
    """Listen on the port at each address of the host. If one of them is taken, listen on none and raise `OSError`."""
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            try:
                sockets.append(socket.create_server(address, family=family))
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
