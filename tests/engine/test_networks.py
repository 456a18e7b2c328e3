"""What an instance reaches: an "internet" of the test's own, which knows no way back to the engine's networks."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from oblako_magic import names
from oblako_magic.engine import Engine, containers, images, networks, streams
from oblako_magic.errors import EngineError
from tests.conftest import missing
from tests.support.plane import eventually

HERE, THERE = "10.231.77.1", "10.231.77.2"


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=20)


@pytest.fixture(scope="module")
def internet() -> Iterator[None]:
    """A server beyond this host."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0 or shutil.which("ip") is None:
        missing("a network of the test's own wants Linux, root and iproute2")
    name = f"ob{secrets.token_hex(4)}"
    _ip("netns", "add", name)
    try:
        _ip("link", "add", name, "type", "veth", "peer", "name", f"{name}x", "netns", name)
        _ip("address", "add", f"{HERE}/30", "dev", name)
        _ip("link", "set", name, "up")
        _ip("-n", name, "address", "add", f"{THERE}/30", "dev", f"{name}x")
        _ip("-n", name, "link", "set", f"{name}x", "up")
        serve = ["ip", "netns", "exec", name, sys.executable, "-m", "http.server", "--bind", THERE, "8000"]
        server = subprocess.Popen(serve, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield
        finally:
            server.terminate()
            server.wait(10)
    finally:
        subprocess.run(["ip", "link", "delete", name], check=False, capture_output=True, timeout=20)
        _ip("netns", "delete", name)


def _reaches(engine: Engine, instance_id: str) -> bool:
    # Not busybox's wget, which falls over its own look-up of names.
    script = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 3 {THERE} 8000 | grep -q '200 OK'"
    return streams.run(engine, instance_id, ["sh", "-c", script])[0] == 0


def test_without_internet(engine_backend: Engine, spec: Callable[..., Any], tiny: images.Image, internet: None) -> None:
    if engine_backend.podman:
        with pytest.raises(EngineError, match="use Docker"):
            networks.ensure_closed(engine_backend)
        return
    usual, closed = spec(), spec(internet=False)
    for one in (usual, closed):
        containers.create(engine_backend, one, tiny)
        containers.start(engine_backend, one.instance_id)
    eventually(lambda: _reaches(engine_backend, usual.instance_id))
    assert not _reaches(engine_backend, closed.instance_id)
    raw = engine_backend.api.inspect_container(names.container_name(closed.instance_id))
    assert list(raw["NetworkSettings"]["Networks"]) == [names.NO_INTERNET_NETWORK]
    # This host it reaches, at the address that its network has here.
    hosts = streams.run(engine_backend, closed.instance_id, ["cat", "/etc/hosts"])[1]
    gateway = networks.closed_gateway(engine_backend)
    assert f"{gateway}\t{names.HOST_ALIAS}" in hosts
    networks.ensure_closed(engine_backend)  # there already


def test_what_a_notebook_needs_of_its_container(
    engine_backend: Engine, spec: Callable[..., Any], tiny: images.Image
) -> None:
    one = spec(
        command=("/bin/sh", "-c", "id -u > /ebs/user; exec sleep infinity"),
        replace_entrypoint=True,
        user="1000:1000",
        also_mounted_at=("/home/ec2-user/SageMaker",),
    )
    containers.create(engine_backend, one, tiny)
    streams.put_files(engine_backend, one.instance_id, [("opt/file", b"there before the start", 0o644)])
    containers.start(engine_backend, one.instance_id)
    assert streams.run(engine_backend, one.instance_id, ["cat", "/opt/file"])[1] == "there before the start"
    script = "echo same > /home/ec2-user/SageMaker/x; cat /ebs/x; stat -c %u /proc/1"
    assert streams.run(engine_backend, one.instance_id, ["sh", "-c", script])[1].split() == ["same", "1000"]
    assert containers.image_user(engine_backend, one.instance_id) == tiny.user
