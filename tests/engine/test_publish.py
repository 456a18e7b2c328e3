"""Host ports: each is given to one, and only where something can listen there."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from oblako_magic.engine.publish import choose, free, release
from oblako_magic.errors import PortTaken
from oblako_magic.model import PortMapping

HOST = "127.0.0.1"


@pytest.fixture
def room() -> Iterator[tuple[int, int]]:
    """A stretch of ten ports that are free."""
    for low in range(31000, 32000, 10):
        if all(free(HOST, port) for port in range(low, low + 10)):
            yield low, low + 9
            release(PortMapping(1, port) for port in range(low, low + 10))
            return
    raise AssertionError("no ten free ports")


def test_ports_are_chosen_from_the_range_and_on_the_host(room: tuple[int, int]) -> None:
    chosen = choose([PortMapping(80), PortMapping(81)], host=HOST, between=room)
    assert [mapping.container_port for mapping in chosen] == [80, 81]
    assert len({mapping.host_port for mapping in chosen}) == 2
    assert all(room[0] <= mapping.host_port <= room[1] and mapping.host == HOST for mapping in chosen)


def test_one_that_was_asked_for_is_given(room: tuple[int, int]) -> None:
    (chosen,) = choose([PortMapping(80, room[1])], host=HOST, between=(1, 1))
    assert chosen == PortMapping(80, room[1], HOST)


def test_many_at_once_get_one_each(room: tuple[int, int]) -> None:
    with ThreadPoolExecutor(10) as pool:
        chosen = list(pool.map(lambda _: choose([PortMapping(80)], host=HOST, between=room)[0].host_port, range(10)))
    assert sorted(chosen) == list(range(room[0], room[1] + 1))
    with pytest.raises(
        PortTaken, match=rf"no port from {room[0]} to {room[1]} on {HOST} is free; widen OBLAKO_PUBLISH_PORTS"
    ):
        choose([PortMapping(80)], host=HOST, between=room)
    release([PortMapping(80, room[0])])
    assert choose([PortMapping(80)], host=HOST, between=room)[0].host_port == room[0]


def test_what_somebody_listens_on_is_not_given(room: tuple[int, int]) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, room[0]))
        taken.listen()
        assert not free(HOST, room[0])
        assert choose([PortMapping(80)], host=HOST, between=room)[0].host_port == room[0] + 1
        with pytest.raises(PortTaken, match=rf"port {room[0]} on {HOST} is in use; free it or publish 80 on another"):
            choose([PortMapping(80, room[0])], host=HOST, between=room)


def test_what_listens_on_all_addresses_takes_the_port_on_loopback(room: tuple[int, int]) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", room[0]))
        taken.listen()
        assert not free(HOST, room[0])


def test_ports_of_stopped_instances_stay_theirs(room: tuple[int, int]) -> None:
    taken = [room[0], room[0] + 1]
    assert choose([PortMapping(80)], host=HOST, between=room, taken=taken)[0].host_port == room[0] + 2
    with pytest.raises(PortTaken):
        choose([PortMapping(80, room[0])], host=HOST, between=room, taken=taken)


def test_the_same_port_twice_in_one_launch_is_refused(room: tuple[int, int]) -> None:
    with pytest.raises(PortTaken):
        choose([PortMapping(80, room[0]), PortMapping(81, room[0])], host=HOST, between=room)


def test_a_launch_that_fails_takes_no_ports_with_it(room: tuple[int, int]) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, room[1]))
        taken.listen()
        for _ in range(3):
            with pytest.raises(PortTaken):
                choose([PortMapping(80), PortMapping(81, room[1])], host=HOST, between=(room[0], room[0]))
    assert choose([PortMapping(80)], host=HOST, between=(room[0], room[0]))[0].host_port == room[0]


def test_a_port_after_its_last_connection_is_free_again(room: tuple[int, int]) -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do, an engine's proxy among them
        server.bind((HOST, room[0]))
        server.listen()
        client = socket.create_connection((HOST, room[0]))
        served, _ = server.accept()
        served.close()  # the server's side waits in TIME_WAIT
        client.recv(1)
        client.close()
    assert free(HOST, room[0])


def test_the_other_family_works(room: tuple[int, int]) -> None:
    if socket.has_ipv6:
        assert choose([PortMapping(80)], host="::1", between=room)[0].host == "::1"


def test_who_begins_elsewhere_is_given_another_and_the_whole_range_is_looked_at(room: tuple[int, int]) -> None:
    low, _ = room
    chosen = [choose([PortMapping(80)], host=HOST, between=room, begin=98)[0].host_port for _ in range(10)]
    assert chosen == [low + 8, low + 9, *range(low, low + 8)]
