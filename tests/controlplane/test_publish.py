"""Ports that are published on a running instance: what a client of the link sees, in both ways of getting there."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from oblako_magic import names
from oblako_magic.engine import Engine
from oblako_magic.errors import ControlPlaneError
from tests.controlplane.planes import Plane
from tests.support.plane import eventually

pytestmark = pytest.mark.engine
WAYS = [
    pytest.param(("docker", "direct"), id="docker-direct"),
    pytest.param(("docker", "relay"), id="docker-relay"),
    # Directly it is the same on both (tests/engine/test_dial.py).
    pytest.param(("podman", "relay"), id="podman-relay", marks=pytest.mark.podman),
]

# As many l as connections may wait: it is how busybox's nc counts them.
_NC = "nc -" + "l" * 120
_SERVERS = f"""
echo hello > /ebs/index.html
httpd -p 80 -h /ebs
{_NC} -p 7 -e cat &
{_NC} -p 9 -e md5sum &
{_NC} -p 19 -e sh -c 'while dd if=/dev/zero bs=65536 count=16 2>/dev/null; do :; done' &
exec sleep infinity
"""
ECHO, HTTP, SUM, FLOOD, NOBODY = 7, 80, 9, 19, 4444


@pytest.fixture(scope="module", params=WAYS)
def plane(
    request: pytest.FixtureRequest, engines: Callable[[str], Engine], new_plane: Callable[..., Any]
) -> Iterator[Plane]:
    """A control plane that reaches its containers in this way; a relay is what an engine in a VM needs."""
    engine, via = request.param
    with new_plane(engines(engine), OBLAKO_PUBLISH_VIA=via, OBLAKO_RESYNC="2") as started:
        yield started


def launch(plane: Plane, **tags: str) -> str:
    tags = {names.TAG_COMMAND: json.dumps(["sh", "-c", _SERVERS]), **tags}
    pairs = [{"Key": key, "Value": value} for key, value in tags.items()]
    return plane.run(TagSpecifications=[{"ResourceType": "instance", "Tags": pairs}])


@pytest.fixture(scope="module")
def machine(plane: Plane) -> str:
    """An instance with servers, for tests that leave it running."""
    return launch(plane)


def publish(plane: Plane, instance_id: str, port: int, host_port: int | None = None) -> tuple[str, int]:
    body = {"id": instance_id, "port": port, **({"host_port": host_port} if host_port else {})}
    answer = plane.api("POST", "/publish", body)
    assert answer["url"] == f"http://127.0.0.1:{answer['host_port']}"
    return "127.0.0.1", int(answer["host_port"])


def unpublish(plane: Plane, instance_id: str, port: int) -> None:
    plane.api("POST", "/unpublish", {"id": instance_id, "port": port})


def relays(plane: Plane) -> list[str]:
    return [raw["Names"][0].lstrip("/") for raw in plane.containers() if "relay" in raw["Names"][0]]


def through(connection: socket.socket, data: bytes = b"") -> bytes:
    """Send, say that this is all, and read to the end."""
    connection.settimeout(20)
    connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)
    return b"".join(iter(lambda: connection.recv(65536), b""))


def ask(place: tuple[str, int], data: bytes = b"") -> bytes:
    """One connection from its beginning to its end; nothing where it is refused or cut."""
    try:
        with socket.create_connection(place, timeout=20) as connection:
            return through(connection, data)
    except ConnectionError:
        return b""


def up(place: tuple[str, int]) -> None:
    """Wait for the echo to answer: its process starts a moment after its container."""
    eventually(lambda: ask(place, b"up") == b"up", what=f"{place} echoes")


def refused(place: tuple[str, int]) -> bool:
    try:
        socket.create_connection(place, timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def over(connection: socket.socket) -> bool:
    """Whether the connection is at its end, by whichever kind of it."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def test_a_client_that_sends_no_more_gets_its_answer(plane: Plane, machine: str) -> None:
    place = publish(plane, machine, ECHO)
    up(place)
    (row,) = [port for port in plane.seen(machine)["ports"] if port["container_port"] == ECHO]
    assert row == {"container_port": ECHO, "host_port": place[1], "host": "127.0.0.1", "live": True}
    assert publish(plane, machine, ECHO) == place  # what is there already is success
    data = os.urandom(3_000_000)
    total = publish(plane, machine, SUM)
    # md5sum answers when its input has ended, and not before.
    assert eventually(lambda: ask(total, data)).split()[0].decode() == hashlib.md5(data).hexdigest()


def test_it_listens_on_loopback_alone(plane: Plane, machine: str) -> None:
    _, port = publish(plane, machine, ECHO)
    listening = [
        line.split()[1]
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for line in Path(table).read_text().splitlines()[1:]
        if line.split()[3] == "0A" and line.split()[1].endswith(f":{port:04X}")
    ]
    assert listening == [f"0100007F:{port:04X}"]


def test_hundreds_of_connections_at_once(plane: Plane, machine: str) -> None:
    place = publish(plane, machine, ECHO)
    up(place)

    async def one(number: int) -> bool:
        reader, writer = await asyncio.open_connection(*place)
        opened.append(number)
        while len(opened) < count:  # all of them are open before the first says anything
            await asyncio.sleep(0.01)
        writer.write(text := b"%d" % number * 1000)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        return answer == text

    async def all_of_them() -> list[bool]:
        return await asyncio.wait_for(asyncio.gather(*map(one, range(count))), 120)

    count, opened = 300, list[int]()
    assert all(asyncio.run(all_of_them()))


def test_a_client_that_does_not_read_holds_the_server_back(plane: Plane, machine: str) -> None:
    place = publish(plane, machine, FLOOD)
    up(publish(plane, machine, ECHO))
    with closing(socket.create_connection(place, timeout=20)) as connection:
        assert connection.recv(1) == b"\0"
        time.sleep(1)
        waiting = eventually(lambda: unread(connection))
        time.sleep(1)
        assert unread(connection) == waiting  # the server writes for ever, and nothing has come since
        got = 0
        while got < 30_000_000:
            got += len(connection.recv(1 << 20))


def unread(connection: socket.socket) -> int:
    """Bytes that wait for the client in its own kernel."""
    return len(connection.recv(1 << 24, socket.MSG_PEEK))


def test_where_nobody_listens_yet_the_client_is_cut_off_at_once(plane: Plane, machine: str) -> None:
    place = publish(plane, machine, NOBODY)
    start = time.monotonic()
    assert ask(place, b"hello") == b""
    assert time.monotonic() - start < 5
    plane.execute(machine, "sh", "-c", f"{_NC} -p {NOBODY} -e cat >/dev/null 2>&1 &")
    up(place)


def test_unpublishing_cuts_the_connections_and_frees_the_port(plane: Plane, machine: str) -> None:
    place = publish(plane, machine, ECHO)
    up(place)
    with closing(socket.create_connection(place, timeout=20)) as connection:
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
        unpublish(plane, machine, ECHO)
        assert over(connection)
    assert refused(place)
    assert names.relay_name(machine, ECHO) not in relays(plane)
    assert ECHO not in [port["container_port"] for port in plane.seen(machine)["ports"]]
    unpublish(plane, machine, ECHO)  # once more is success
    assert publish(plane, machine, ECHO, place[1]) == place
    up(place)


def test_over_stop_and_start_it_keeps_its_port_or_says_which_it_has(plane: Plane) -> None:
    client, machine = plane.client(), launch(plane)
    echo, page = publish(plane, machine, ECHO), publish(plane, machine, HTTP)
    up(echo)
    client.stop_instances(InstanceIds=[machine])
    plane.until(machine, "stopped")
    eventually(lambda: refused(echo) and refused(page), what="nobody listens")
    eventually(lambda: not [name for name in relays(plane) if machine in name], what="the relays go with it")
    other = publish(plane, launch(plane), ECHO)
    assert other not in (echo, page)  # a port of a stopped instance stays its own
    with socket.socket() as taken:
        taken.bind(page)
        taken.listen()
        client.start_instances(InstanceIds=[machine])
        plane.until(machine, "running")
        up(echo)
        now = eventually(lambda: next(p for p in plane.seen(machine)["ports"] if p["container_port"] == HTTP))
        moved = ("127.0.0.1", now["host_port"])
        assert moved not in (echo, page, other)
        assert f"127.0.0.1:{page[1]} was taken meanwhile: port 80 is at" in plane.seen(machine)["note"]
    request = b"GET /index.html HTTP/1.0\r\n\r\n"
    assert b"hello" in eventually(lambda: ask(moved, request))
    unpublish(plane, machine, HTTP)
    assert plane.seen(machine)["note"] == ""
    client.terminate_instances(InstanceIds=[machine])
    plane.until(machine, "terminated")
    eventually(lambda: refused(echo), what="nobody listens")
    assert plane.seen(machine)["ports"] == []
    eventually(lambda: not [name for name in relays(plane) if machine in name], what="the relays go with it")


def test_they_come_back_with_the_control_plane(plane: Plane, machine: str) -> None:
    place = publish(plane, machine, ECHO)
    gone = publish(plane, machine, HTTP)
    up(place)
    unpublish(plane, machine, HTTP)
    plane.kill()
    assert refused(place)
    plane.start()
    up(place)
    assert refused(gone)
    plane.restart()
    up(place)
    assert refused(gone)
    ours = [name for name in relays(plane) if machine in name and name.endswith(f"-{ECHO}")]
    assert len(ours) == ("relay" in plane.environ["OBLAKO_PUBLISH_VIA"])


def test_a_relay_that_is_lost_is_made_again(plane: Plane, machine: str) -> None:
    if plane.environ["OBLAKO_PUBLISH_VIA"] == "direct":
        assert relays(plane) == []
        return
    place = publish(plane, machine, ECHO)
    up(place)
    plane.engine.api.remove_container(names.relay_name(machine, ECHO), force=True)
    up(place)


def test_a_port_of_the_launch_is_the_engines(plane: Plane) -> None:
    machine = launch(plane, **{names.TAG_PUBLISH: str(ECHO)})
    (row,) = plane.seen(machine)["ports"]
    assert not row["live"]
    place = ("127.0.0.1", row["host_port"])
    up(place)
    assert publish(plane, machine, ECHO) == place
    with pytest.raises(ControlPlaneError, match=r"was published at its launch; the engine holds it until"):
        unpublish(plane, machine, ECHO)
    with pytest.raises(ControlPlaneError, match=r"is published at .* already; the engine holds it until"):
        publish(plane, machine, ECHO, 31999)
    up(place)


def test_an_instance_can_not_publish(plane: Plane, machine: str) -> None:
    before = plane.seen(machine)["ports"]
    port = plane.endpoint.rpartition(":")[2]
    ask_for_it = (
        f"wget -q -O - --header 'X-Oblako: 1' --post-data '{json.dumps({'id': machine, 'port': 82})}' "
        f"http://{names.HOST_ALIAS}:{port}/_oblako/v1/publish 2>&1"
    )

    def answer() -> str:
        # Podman's bridge is listened on once it is there.
        text = plane.execute(machine, "sh", "-c", ask_for_it)[1]
        return text if "HTTP/" in text else ""

    assert "403 Forbidden" in eventually(answer)
    assert plane.seen(machine)["ports"] == before


def test_what_makes_no_sense_is_said_and_leaves_nothing(plane: Plane, machine: str) -> None:
    simulated = plane.run(
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": names.TAG_BACKED, "Value": "false"}]}]
    )
    before = plane.seen(machine)["ports"]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        for body, sentence in (
            ({"id": machine, "port": 81, "host_port": number}, f"port {number} on 127.0.0.1 is in use; free it"),
            ({"id": machine, "port": 0}, "0 is not a port; they go from 1 to 65535"),
            ({"id": machine, "port": 81, "host_port": 70000}, "70000 is not a port"),
            ({"id": machine, "port": "http"}, "can't read the call"),
            ({"port": 81}, "can't read the call"),
            ({"id": "i-0nothere", "port": 81}, "there is no instance i-0nothere"),
            ({"id": simulated, "port": 81}, "is simulated: it has no container"),
        ):
            with pytest.raises(ControlPlaneError, match=sentence):
                plane.api("POST", "/publish", body)
    assert plane.seen(machine)["ports"] == before
    plane.client().terminate_instances(InstanceIds=[simulated])
    with pytest.raises(ControlPlaneError, match="it has no ports to publish any more"):
        plane.api("POST", "/publish", {"id": simulated, "port": 81})
