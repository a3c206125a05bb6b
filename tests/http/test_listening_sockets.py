"""chat/http/listening_sockets.py: which port is taken when other programs want it too."""

import contextlib
import socket
from collections.abc import Iterator

import pytest

from chat.http import listening_sockets
from tests.support.processes import free_port

HOST = "127.0.0.1"


def ports_of(sockets: list[socket.socket]) -> set[int]:
    return {each.getsockname()[1] for each in sockets}


@pytest.fixture
def opened() -> Iterator[contextlib.ExitStack]:
    """What a test opens and this closes."""
    with contextlib.ExitStack() as stack:
        yield stack


def test_the_next_port_is_taken_if_another_program_has_the_first(opened: contextlib.ExitStack) -> None:
    first = free_port()
    opened.enter_context(socket.create_server((HOST, first)))
    ports = range(first, first + 50)
    found = [opened.enter_context(each) for each in listening_sockets.listen_on_first_free(HOST, ports)]
    (port,) = ports_of(found)
    assert first < port < first + 50
    opened.enter_context(socket.create_connection((HOST, port)))  # it listens already


def test_a_port_that_is_taken_between_bind_and_listen_is_given_up_for_the_next(
    opened: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = free_port()
    rival = opened.enter_context(socket.socket())
    rival.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as asyncio and PostgreSQL do

    class OvertakenSocket(socket.socket):
        """A socket that the rival overtakes: it begins to listen after this one is bound and before it listens."""

        def listen(self, backlog: int = 128) -> None:
            if self.getsockname()[1] == first:
                rival.bind((HOST, first))
                rival.listen()
            super().listen(backlog)

    monkeypatch.setattr(socket, "socket", OvertakenSocket)
    found = listening_sockets.listen_on_first_free(HOST, range(first, first + 50))
    (port,) = ports_of([opened.enter_context(each) for each in found])
    assert port > first


def test_if_all_ports_are_taken_the_reason_is_told(opened: contextlib.ExitStack) -> None:
    port = free_port()
    opened.enter_context(socket.create_server((HOST, port)))
    with pytest.raises(OSError, match="in use"):
        listening_sockets.listen_on_first_free(HOST, [port])


def test_another_error_is_not_taken_for_a_taken_port() -> None:
    with pytest.raises(OSError, match="assign requested address"):
        listening_sockets.listen_on_first_free("192.0.2.1", range(8080, 8090))  # of no interface


def test_a_host_of_several_addresses_has_one_port(
    opened: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = free_port()

    def addresses(host: str, port: int, type: int) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, type, 0, "", (each, port)) for each in ("127.0.0.2", "192.0.2.1", "127.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", addresses)
    opened.enter_context(socket.create_server((HOST, first)))  # at one of them alone
    found = listening_sockets.listen_on_first_free("several", range(first, first + 50))
    hosts = [opened.enter_context(each).getsockname()[0] for each in found]
    assert hosts == ["127.0.0.2", "127.0.0.1"]  # that of no interface is left out
    (port,) = ports_of(found)
    assert port > first
    opened.enter_context(socket.create_server(("127.0.0.2", first)))  # nothing is kept of a port that was given up


# --- a port for several workers -----------------------------------------------------------------------


def test_workers_share_a_port_that_is_held_and_no_connection_is_lost_to_the_holder(
    opened: contextlib.ExitStack,
) -> None:
    (held,) = listening_sockets.hold_first_free(HOST, [0])
    address = opened.enter_context(held).getsockname()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
    workers = [
        opened.enter_context(each) for _ in range(2) for each in listening_sockets.listen(HOST, address[1], shared=True)
    ]
    for _ in range(50):
        opened.enter_context(socket.create_connection(address))
    accepted = 0
    for worker in workers:
        worker.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                opened.enter_context(worker.accept()[0])
                accepted += 1
    assert accepted == 50


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("host", [HOST, "0.0.0.0"])
def test_a_held_port_is_no_other_servers_before_and_while_workers_listen(
    opened: contextlib.ExitStack, workers: int, host: str
) -> None:
    (held,) = listening_sockets.hold_first_free(HOST, [free_port()])
    port = opened.enter_context(held).getsockname()[1]
    for _ in range(workers):
        opened.enter_context(listening_sockets.listen(HOST, port, shared=True)[0])
    with pytest.raises(OSError, match="in use"):
        listening_sockets.listen(host, port)
    with pytest.raises(OSError, match="in use"):
        listening_sockets.hold_first_free(host, [port])  # another supervisor
    (next_one,) = listening_sockets.hold_first_free(host, range(port, port + 50))
    assert opened.enter_context(next_one).getsockname()[1] > port


def test_a_port_may_be_held_right_after_a_server_with_connections_has_ended(opened: contextlib.ExitStack) -> None:
    with socket.create_server((HOST, 0)) as earlier:
        address = earlier.getsockname()
        client = opened.enter_context(socket.create_connection(address))
        earlier.accept()[0].close()  # the server closes first, so that the kernel remembers the connection for a minute
        client.close()
    opened.enter_context(listening_sockets.hold_first_free(HOST, [address[1]])[0])
    opened.enter_context(listening_sockets.listen(HOST, address[1], shared=True)[0])


def test_a_single_server_does_not_share_its_port(opened: contextlib.ExitStack) -> None:
    alone = opened.enter_context(listening_sockets.listen(HOST, 0)[0])
    assert not alone.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)


def test_the_url_of_a_socket_has_brackets_around_an_ipv6_address(opened: contextlib.ExitStack) -> None:
    bound = opened.enter_context(socket.create_server((HOST, 0)))
    assert listening_sockets.url_of(bound) == f"http://127.0.0.1:{bound.getsockname()[1]}"
    with contextlib.suppress(OSError):  # a machine without IPv6
        bound = opened.enter_context(socket.create_server(("::1", 0), family=socket.AF_INET6))
        assert listening_sockets.url_of(bound) == f"http://[::1]:{bound.getsockname()[1]}"
