"""A write that can't be saved is refused, and nothing of it is seen, done or kept."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from oblako_magic import names
from oblako_magic.engine import Engine
from oblako_magic.errors import ControlPlaneError
from tests.conftest import missing
from tests.controlplane.planes import Plane, running_plane
from tests.faults.world import fill, small_disk
from tests.support.plane import eventually


@pytest.fixture(scope="module")
def cramped(engine_backend: Engine, run_label: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """A control plane whose state directory is on a small disk."""
    if os.name != "posix" or os.geteuid() != 0:
        missing("a disk of its own, to be filled, takes root")
    with ExitStack() as stack:
        disk = stack.enter_context(small_disk(tmp_path_factory.mktemp("cramped") / "disk"))
        yield stack.enter_context(running_plane(engine_backend, disk / "state", run_label, f"{run_label}-cramped", {}))


@pytest.fixture
def full(cramped: Plane) -> Iterator[Path]:
    """Not a byte is left; what takes it all up."""
    filler = fill(cramped.settings.state_dir)
    yield filler
    filler.unlink(missing_ok=True)


def refused(call: Callable[..., Any], **arguments: Any) -> str:
    """The message of a call that must be refused as AWS refuses one when it is not well."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    error = caught.value.response
    assert (error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]) == ("Unavailable", 503)
    return str(error["Error"]["Message"])


def described(plane: Plane) -> dict[str, tuple[str, dict[str, str]]]:
    """State and tags of all instances, by id."""
    pages = plane.client().get_paginator("describe_instances").paginate()
    return {
        i["InstanceId"]: (i["State"]["Name"], {tag["Key"]: tag["Value"] for tag in i.get("Tags") or []})
        for page in pages
        for reservation in page["Reservations"]
        for i in reservation["Instances"]
    }


def test_nothing_is_half_made_and_all_works_when_there_is_space_again(cramped: Plane) -> None:
    client, one, two = cramped.client(), cramped.run(), cramped.run()
    eventually(lambda: cramped.seen(two)["container_id"])
    # What was observed is saved a moment later, or with the next write: on disk, too, both run now.
    client.create_tags(Resources=[one, two], Tags=[{"Key": "saved", "Value": "yes"}])
    before, containers, volumes = described(cramped), len(cramped.containers()), set(cramped.volumes())
    started = {key: (cramped.container(key) or {})["State"]["StartedAt"] for key in (one, two)}
    filler = fill(cramped.settings.state_dir)
    try:
        message = refused(cramped.launch)
        assert "No space left on device" in message
        assert "free some space" in message, "names no next step"
        for call in (client.stop_instances, client.terminate_instances, client.reboot_instances):
            refused(call, InstanceIds=[one])
        refused(client.create_tags, Resources=[two], Tags=[{"Key": "never", "Value": "x"}])
        refused(client.create_volume, AvailabilityZone="us-east-1a", Size=1)
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(lambda _: refused(cramped.launch), range(8)))
        # Reading goes on, and tells what was there before.
        assert described(cramped) == before
        assert not [v for v in client.describe_volumes()["Volumes"] if not v["Attachments"]]
        # An instance that ends by itself is seen all the same.
        cramped.engine.api.kill(names.container_name(two))
        cramped.until(two, "stopped")
        refused(client.start_instances, InstanceIds=[two])
        # Taken back to what is on disk, which does not know of its end; the loop sees it again.
        cramped.until(two, "stopped")
        assert cramped.state(one) == "running"
    finally:
        filler.unlink()
    new = cramped.run()
    client.start_instances(InstanceIds=[two])
    cramped.until(two, "running")
    cramped.kill()
    cramped.start()
    # What the loop has observed is saved a moment after it is shown; it looks again anyway.
    for running in (two, new):
        cramped.until(running, "running")
    now = described(cramped)
    assert set(now) == {*before, new}
    assert (now[one], now[two], now[new][0]) == (before[one], before[two], "running")
    assert len(cramped.containers()) == containers + 1
    assert set(cramped.volumes()) == {*volumes, names.root_volume_name(new)}
    container = cramped.container(one)
    assert container is not None
    assert container["State"]["StartedAt"] == started[one], "it was stopped or rebooted, which was refused"
    client.terminate_instances(InstanceIds=[one, two, new])
    for key in (one, two, new):
        cramped.until(key, "terminated")
    assert cramped.containers() == []
    assert cramped.volumes() == []


def test_a_region_that_was_first_looked_at_with_a_full_disk_keeps_its_ids(cramped: Plane, full: Path) -> None:
    client = cramped.client(region="eu-west-1")
    refused(client.describe_vpcs)
    full.unlink()
    before = client.describe_vpcs()["Vpcs"][0]["VpcId"]
    cramped.kill()
    cramped.start()
    assert client.describe_vpcs()["Vpcs"][0]["VpcId"] == before


def test_after_a_kill_it_starts_without_space_and_tells_what_was_saved(cramped: Plane) -> None:
    instance_id = cramped.run()
    cramped.kill()
    filler = fill(cramped.settings.state_dir)
    try:
        cramped.start()
        assert set(described(cramped)) >= {instance_id}
        refused(cramped.client().terminate_instances, InstanceIds=[instance_id])
    finally:
        filler.unlink()
    cramped.until(instance_id, "running")
    cramped.client().terminate_instances(InstanceIds=[instance_id])
    cramped.until(instance_id, "terminated")


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return False
    except ConnectionResetError:
        return True  # somebody took the call: the relay ends it so at once when nothing listens in the instance
    return True


def test_a_port_is_published_for_good_or_not_at_all(cramped: Plane) -> None:
    instance_id = cramped.run()
    kept = cramped.api("POST", "/publish", {"id": instance_id, "port": 80})["host_port"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        other = probe.getsockname()[1]
    ports = cramped.seen(instance_id)["ports"]
    filler = fill(cramped.settings.state_dir)
    try:
        with pytest.raises(ControlPlaneError, match="free some space"):
            cramped.api("POST", "/publish", {"id": instance_id, "port": 81, "host_port": other})
        with pytest.raises(ControlPlaneError, match="free some space"):
            cramped.api("POST", "/unpublish", {"id": instance_id, "port": 80})
        assert cramped.seen(instance_id)["ports"] == ports
        assert not listens(other)
        assert listens(kept)
    finally:
        filler.unlink()
    cramped.kill()
    cramped.start()
    assert cramped.seen(instance_id)["ports"] == ports
    eventually(lambda: listens(kept))
    cramped.client().terminate_instances(InstanceIds=[instance_id])
    cramped.until(instance_id, "terminated")
    eventually(lambda: not listens(kept))
