"""Where a container is dialled, and the relay that does it where its address is out of reach."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Callable, Iterator

import pytest

from oblako_magic import names
from oblako_magic.engine import Engine, containers, dial, images, networks, relay
from oblako_magic.errors import EngineError, ImageError
from oblako_magic.model import ContainerSpec
from tests.support.plane import eventually

ECHO, SUM = 7, 9
_NC = "nc -" + "l" * 64
PLANE = "a-plane-of-the-tests"


@pytest.fixture
def server(engine_backend: Engine, spec: Callable[..., ContainerSpec], tiny: images.Image) -> str:
    """The instance id of a container with servers in it."""
    script = f"{_NC} -p {ECHO} -e cat & {_NC} -p {SUM} -e md5sum & exec sleep infinity"
    one = spec(command=("sh", "-c", script))
    containers.create(engine_backend, one, tiny)
    containers.start(engine_backend, one.instance_id)
    return one.instance_id


@pytest.fixture
def place(engine_backend: Engine, server: str) -> Iterator[dial.Place]:
    """Where that container is; its relays are removed at the end."""
    found = dial.locate(engine_backend, server)
    assert found is not None
    yield found
    for port in (ECHO, SUM):
        relay.remove(engine_backend, names.relay_name(server, port))


def ask(target: tuple[str, int], data: bytes) -> bytes:
    """One connection to its end; nothing where the server in the container is not up yet."""
    try:
        with socket.create_connection(target, 10) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))
    except ConnectionError:
        return b""


@pytest.mark.both_engines
def test_on_this_machine_the_address_is_dialled(engine_backend: Engine, server: str, place: dial.Place) -> None:
    assert place.here
    assert eventually(lambda: ask((place.address, ECHO), b"hello")) == b"hello"
    containers.stop(engine_backend, server, grace=0)
    assert dial.locate(engine_backend, server) is None
    containers.remove(engine_backend, server)
    assert dial.locate(engine_backend, server) is None


@pytest.mark.both_engines
def test_an_engine_elsewhere_is_not_taken_for_one_here(
    engine_backend: Engine, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = engine_backend.api.inspect_container(names.container_name(server))

    def inspect(**state: object) -> bool:
        told = {**raw, "State": {**raw["State"], **state}}
        monkeypatch.setattr(engine_backend.api, "inspect_container", lambda name: told)
        found = dial.locate(engine_backend, server)
        assert found is not None
        return found.here

    assert inspect()
    # The process ids are another kernel's: here they are other programs', or nobody's.
    assert not inspect(Pid=1)
    assert not inspect(Pid=2**22 + 1)
    monkeypatch.setattr(networks, "is_local", lambda address: False)
    assert not inspect()
    monkeypatch.undo()
    elsewhere = dataclasses.replace(engine_backend)
    elsewhere.__dict__["rootless"] = True
    found = dial.locate(elsewhere, server)
    assert found is not None
    assert not found.here


@pytest.mark.both_engines
def test_a_relay_of_busybox(engine_backend: Engine, server: str, place: dial.Place, tiny: images.Image) -> None:
    works(engine_backend, server, place, relay.with_busybox(tiny.name))


def test_a_relay_in_python(engine_backend: Engine, server: str, place: dial.Place, base_image: str) -> None:
    works(engine_backend, server, place, relay.with_python(base_image))


def works(engine_backend: Engine, server: str, place: dial.Place, kind: relay.Kind) -> None:
    target = relay.ensure(engine_backend, server, ECHO, place, PLANE, kind=kind)
    assert target[0] == "127.0.0.1"
    assert eventually(lambda: ask(target, b"hello")) == b"hello"
    assert relay.ensure(engine_backend, server, ECHO, place, PLANE, kind=kind) == target
    raw = engine_backend.api.inspect_container(names.relay_name(server, ECHO))
    assert [binding["HostIp"] for bindings in raw["HostConfig"]["PortBindings"].values() for binding in bindings] == [
        "127.0.0.1"
    ]
    assert raw["HostConfig"]["ReadonlyRootfs"]
    assert not raw["HostConfig"]["Privileged"]
    assert raw["Config"]["User"] == "65534:65534"
    assert not [c for c in containers.all_containers(engine_backend) if c.container_id == raw["Id"]]
    # The container has another address after a start: the relay is replaced.
    other = dataclasses.replace(place, address=place.address[: place.address.rindex(".")] + ".254")
    relay.ensure(engine_backend, server, ECHO, other, PLANE, kind=kind)
    again = engine_backend.api.inspect_container(names.relay_name(server, ECHO))
    assert again["Config"]["Labels"][names.LABEL_RELAY] == f"{other.address}:{ECHO}"
    relay.sweep(engine_backend, "another-plane", keep=())
    relay.sweep(engine_backend, PLANE, keep={(server, ECHO)})
    assert engine_backend.api.inspect_container(names.relay_name(server, ECHO))["Id"] == again["Id"]
    relay.sweep(engine_backend, PLANE, keep={(server, SUM)})
    assert not engine_backend.api.containers(all=True, filters={"name": [names.relay_name(server, ECHO)]})


@pytest.mark.both_engines
def test_an_image_that_can_not_relay_leaves_nothing(engine_backend: Engine, server: str, place: dial.Place) -> None:
    with pytest.raises(EngineError, match="has no Python and no nc"):
        relay.ensure(engine_backend, server, SUM, place, PLANE, kind=relay.with_python(place.image))
    assert not engine_backend.api.containers(all=True, filters={"name": [names.relay_name(server, SUM)]})


@pytest.mark.both_engines
def test_where_no_image_can_be_had_the_sentence_says_so(
    engine_backend: Engine, server: str, place: dial.Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "local", lambda engine, name: None)
    with pytest.raises(
        ImageError, match=rf"port {SUM} of {server} can only be reached by a relay, and there is no image"
    ):
        relay.ensure(engine_backend, server, SUM, place, PLANE, 20)
