"""The containers and volumes of instances: already done is success, on both engines."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from oblako_magic import names
from oblako_magic.engine import Engine, build, containers, images, networks, volumes
from oblako_magic.engine.containers import published
from oblako_magic.engine.publish import choose, release
from oblako_magic.model import ContainerState, Limits, PortMapping

pytestmark = pytest.mark.both_engines


def raw(engine: Engine, instance_id: str) -> dict[str, Any]:
    return dict(engine.api.inspect_container(names.container_name(instance_id)))


def test_everything_twice_is_as_once(engine_backend: Engine, spec: Any, tiny: images.Image) -> None:
    engine, one = engine_backend, spec()
    first = containers.create(engine, one, tiny)
    assert containers.create(engine, one, tiny) == first
    for _ in range(2):
        containers.start(engine, one.instance_id)
        assert raw(engine, one.instance_id)["State"]["Running"]
    started = raw(engine, one.instance_id)["State"]["StartedAt"]
    containers.start(engine, one.instance_id)
    assert raw(engine, one.instance_id)["State"]["StartedAt"] == started
    for _ in range(2):
        containers.stop(engine, one.instance_id)
        assert not raw(engine, one.instance_id)["State"]["Running"]
    for _ in range(2):
        containers.remove(engine, one.instance_id)
        assert containers.find(engine, one.instance_id) is None
    containers.stop(engine, one.instance_id)
    assert volumes.exists(engine, names.root_volume_name(one.instance_id)), "the root volume went with the container"
    for _ in range(2):
        volumes.remove(engine, names.root_volume_name(one.instance_id))
        assert not volumes.exists(engine, names.root_volume_name(one.instance_id))


def test_made_by_two_at_once_there_is_one(engine_backend: Engine, spec: Any, tiny: images.Image) -> None:
    one = spec()
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: containers.create(engine_backend, one, tiny), range(4)))
    found = containers.find(engine_backend, one.instance_id)
    assert found is not None
    assert set(made) == {found.container_id}


def test_find_tells_what_the_engine_says(engine_backend: Engine, spec: Any, tiny: images.Image) -> None:
    (port,) = choose([PortMapping(80)], host="127.0.0.1", between=(28000, 28999))
    one = spec(ports=(port,), hostname="ip-10-0-0-4", labels={"a": "b"})
    containers.create(engine_backend, one, tiny)
    found = containers.find(engine_backend, one.instance_id)
    assert found is not None
    assert (found.instance_id, found.status, found.running) == (one.instance_id, "created", False)
    assert (found.image, found.ports) == (build.TINY_IMAGE, (port,))
    assert found.labels["a"] == "b"
    assert found.labels[names.LABEL_INSTANCE] == one.instance_id
    assert found.labels[names.LABEL_SERVICE] == "ec2"
    assert set(engine_backend.labels.items()) <= set(found.labels.items())
    containers.start(engine_backend, one.instance_id)
    found = containers.find(engine_backend, one.instance_id)
    assert found is not None
    assert (found.status, found.running) == ("running", True)
    assert found.address.count(".") == 3
    assert found.container_id == raw(engine_backend, one.instance_id)["Id"]
    engine_backend.api.kill(names.container_name(one.instance_id))
    engine_backend.api.wait(names.container_name(one.instance_id))
    found = containers.find(engine_backend, one.instance_id)
    assert found is not None
    assert (found.running, found.exit_code) == (False, 137)
    listed = {item.instance_id: item for item in containers.all_containers(engine_backend)}
    assert (listed[one.instance_id].image, listed[one.instance_id].running) == (build.TINY_IMAGE, False)
    release([port])


def test_restart_is_a_new_start_of_the_same(engine_backend: Engine, running: str) -> None:
    before = raw(engine_backend, running)
    containers.restart(engine_backend, running)
    after = raw(engine_backend, running)
    assert after["Id"] == before["Id"]
    assert after["State"]["StartedAt"] != before["State"]["StartedAt"]
    assert after["State"]["Running"]


def test_the_host_is_known_by_its_alias(engine_backend: Engine, running: str) -> None:
    api = engine_backend.api
    made = api.exec_create(names.container_name(running), ["cat", "/etc/hosts"])
    lines = [line.split() for line in api.exec_start(made["Id"]).decode().splitlines() if line.strip()]
    addresses = [words[0] for words in lines if names.HOST_ALIAS in words[1:]]
    assert addresses == [networks.gateway(engine_backend)]


def test_volumes_carry_the_labels_that_find_them(engine_backend: Engine, spec: Any, tiny: images.Image) -> None:
    one = spec(labels={names.LABEL_CONTROL_PLANE: "here"})
    containers.create(engine_backend, one, tiny)
    found = {volume.name: volume.labels for volume in volumes.all_volumes(engine_backend)}
    labels = found[names.root_volume_name(one.instance_id)]
    assert labels[names.LABEL_INSTANCE] == one.instance_id
    assert labels[names.LABEL_CONTROL_PLANE] == "here"
    volumes.ensure(engine_backend, names.root_volume_name(one.instance_id), {"other": "x"})
    again = {volume.name: volume.labels for volume in volumes.all_volumes(engine_backend)}
    assert again[names.root_volume_name(one.instance_id)] == labels


def test_limits_are_the_engines(engine_backend: Engine, spec: Any, tiny: images.Image) -> None:
    one, small = spec(limits=Limits(0.5, 64)), spec(limits=Limits(1000, 1))
    for item in (one, small):
        containers.create(engine_backend, item, tiny)
    config = raw(engine_backend, one.instance_id)["HostConfig"]
    assert (config["NanoCpus"], config["Memory"]) == (500_000_000, 64 << 20)
    config = raw(engine_backend, small.instance_id)["HostConfig"]
    assert (config["NanoCpus"], config["Memory"]) == (int(engine_backend.host[0] * 1e9), 6 << 20)


def test_published_is_the_set_of_host_ports(engine_backend: Engine) -> None:
    state = ContainerState("i-1", "c", "running", ports=(PortMapping(80, 1), PortMapping(81, 2)))
    assert published([state, ContainerState("i-2", "d", "exited")]) == {1, 2}
