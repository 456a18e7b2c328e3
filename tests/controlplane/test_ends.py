"""Ends that nobody asked EC2 for: seen when they happen, with their reason, and nothing lost by them.

The control plane looks at everything once an hour here: what it knows it has from the engine's events. How long
it takes to tell is measured in ``benchmarks/`` (a second is promised).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import docker.errors
import pytest

from oblako_magic import names
from oblako_magic.engine import Engine
from tests.controlplane.planes import Plane
from tests.support.plane import eventually


@pytest.fixture(scope="module")
def plane(engine_backend: Engine, new_plane: Callable[..., Any]) -> Iterator[Plane]:
    with new_plane(engine_backend, OBLAKO_RESYNC="3600") as own:
        yield own


def ends(plane: Plane, instance_id: str, state: str) -> tuple[str, str]:
    """Wait for the state; its StateReason."""
    plane.until(instance_id, state)
    reason = plane.describe(instance_id)["StateReason"]
    return reason["Code"], reason["Message"]


def test_poweroff_in_the_instance_stops_it(plane: Plane) -> None:
    instance_id = plane.run()
    plane.execute(instance_id, "kill", "1")
    code, _ = ends(plane, instance_id, "stopped")
    assert code == "Client.InstanceInitiatedShutdown"
    plane.client().start_instances(InstanceIds=[instance_id])
    plane.until(instance_id, "running")
    container = plane.container(instance_id)
    assert container is not None
    assert container["State"]["Running"]


def test_docker_kill_stops_it_with_the_exit_code(plane: Plane) -> None:
    instance_id = plane.run()
    plane.engine.api.kill(names.container_name(instance_id))
    code, message = ends(plane, instance_id, "stopped")
    assert code == "Server.InternalError"
    assert "137" in message


def test_docker_stop_is_followed_and_docker_start_is_undone(plane: Plane) -> None:
    instance_id = plane.run()
    plane.engine.api.stop(names.container_name(instance_id), timeout=5)
    ends(plane, instance_id, "stopped")
    plane.engine.api.start(names.container_name(instance_id))  # EC2 was not asked: it is to be stopped

    def ended() -> bool:
        container = plane.container(instance_id)
        return container is not None and not container["State"]["Running"]

    eventually(ended)
    assert plane.state(instance_id) == "stopped"


def test_out_of_memory_is_told_as_such(plane: Plane) -> None:
    # t3.nano has 512 MiB; the memory of a file in /dev/shm is the container's, though not beyond shm's 64 MiB: a
    # shell that doubles a string has no such bound. Process 1 dies with it when it is the one that grows.
    grow = '["sh", "-c", "while [ ! -e /ebs/go ]; do sleep 0.1; done; x=xxxxxxxx; while :; do x=$x$x$x$x; done"]'
    tags = [{"Key": names.TAG_COMMAND, "Value": grow}]
    instance_id = plane.run(InstanceType="t3.nano", TagSpecifications=[{"ResourceType": "instance", "Tags": tags}])
    plane.execute(instance_id, "touch", "/ebs/go")

    def dead() -> bool:
        container = plane.container(instance_id)
        return container is not None and not container["State"]["Running"]

    eventually(dead, timeout=60)
    _, message = ends(plane, instance_id, "stopped")
    container = plane.container(instance_id)
    assert container is not None
    assert container["State"]["OOMKilled"]
    assert "memory" in message


def test_shutdown_behaviour_terminate_ends_it_for_good(plane: Plane) -> None:
    instance_id = plane.run(InstanceInitiatedShutdownBehavior="terminate")
    root = names.root_volume_name(instance_id)
    assert root in plane.volumes()
    plane.execute(instance_id, "kill", "1")
    code, _ = ends(plane, instance_id, "terminated")
    assert code == "Client.InstanceInitiatedShutdown"
    assert plane.container(instance_id) is None
    assert root not in plane.volumes()


def test_docker_rm_shows_impaired_and_start_brings_it_back_on_its_volume(plane: Plane) -> None:
    client, instance_id = plane.client(), plane.run()
    plane.execute(instance_id, "sh", "-c", "echo kept > /ebs/file")
    before = plane.container(instance_id)
    assert before is not None
    plane.engine.api.remove_container(before["Id"], force=True)

    def status() -> Any:
        (found,) = client.describe_instance_status(InstanceIds=[instance_id])["InstanceStatuses"]
        return found["InstanceStatus"]["Status"]

    eventually(lambda: status() == "impaired")
    assert plane.state(instance_id) == "running"
    assert plane.container(instance_id) is None, "made anew though nobody asked"
    assert "start it again" in plane.seen(instance_id)["impaired"]
    client.start_instances(InstanceIds=[instance_id])
    eventually(lambda: status() == "ok")
    after = plane.container(instance_id)
    assert after is not None
    assert after["Id"] != before["Id"]
    assert after["State"]["Running"]
    assert plane.read(instance_id, "/ebs/file") == "kept\n"


def test_docker_rm_of_a_stopped_one_costs_nothing(plane: Plane) -> None:
    client, instance_id = plane.client(), plane.run()
    plane.execute(instance_id, "sh", "-c", "echo kept > /ebs/file")
    client.stop_instances(InstanceIds=[instance_id])
    plane.until(instance_id, "stopped")
    plane.engine.api.remove_container(names.container_name(instance_id))
    client.start_instances(InstanceIds=[instance_id])
    plane.until(instance_id, "running")
    assert plane.read(instance_id, "/ebs/file") == "kept\n"


def test_docker_pause_shows_impaired_until_it_goes_on(plane: Plane) -> None:
    instance_id = plane.run()
    plane.engine.api.pause(names.container_name(instance_id))
    eventually(lambda: "paused" in plane.seen(instance_id)["impaired"])
    plane.engine.api.unpause(names.container_name(instance_id))
    eventually(lambda: not plane.seen(instance_id)["impaired"])
    assert plane.state(instance_id) == "running"


def test_terminate_of_one_removed_by_hand_removes_its_volume(plane: Plane) -> None:
    instance_id = plane.run()
    plane.engine.api.remove_container(names.container_name(instance_id), force=True)
    eventually(lambda: plane.seen(instance_id)["impaired"])
    plane.client().terminate_instances(InstanceIds=[instance_id])
    plane.until(instance_id, "terminated")
    with pytest.raises(docker.errors.NotFound):
        plane.engine.api.inspect_volume(names.root_volume_name(instance_id))


def test_a_root_volume_that_is_to_stay_stays_until_it_is_deleted(plane: Plane) -> None:
    mappings = [{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 8, "DeleteOnTermination": False}}]
    client, instance_id = plane.client(), plane.run(BlockDeviceMappings=mappings)
    root = names.root_volume_name(instance_id)
    volume_id = plane.describe(instance_id)["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    client.terminate_instances(InstanceIds=[instance_id])
    plane.until(instance_id, "terminated")
    assert plane.container(instance_id) is None
    assert root in plane.volumes()
    client.delete_volume(VolumeId=volume_id)
    eventually(lambda: root not in plane.volumes())
