"""OBLAKO_EC2_SYNCHRONOUS: a write is answered when its instances are at rest, as suites written for moto expect."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from oblako_magic.controlplane.intent import Intent
from oblako_magic.engine import Engine
from oblako_magic.model import Backing
from oblako_magic.settings import Settings
from tests.controlplane.planes import AMI, Plane


@pytest.fixture(scope="module")
def own(engine_backend: Engine, new_plane: Callable[..., Any]) -> Iterator[Plane]:
    with new_plane(engine_backend, OBLAKO_EC2_SYNCHRONOUS="on") as plane:
        yield plane


def running(plane: Plane, instance_id: str) -> bool:
    container = plane.container(instance_id)
    return container is not None and bool(container["State"]["Running"])


def test_each_write_is_answered_when_the_engine_has_followed(own: Plane) -> None:
    client = own.client()
    first, second = own.launch(2)
    assert [own.state(first), own.state(second)] == ["running", "running"]
    assert running(own, first)
    client.stop_instances(InstanceIds=[first])
    assert (own.state(first), running(own, first)) == ("stopped", False)
    client.start_instances(InstanceIds=[first])
    assert (own.state(first), running(own, first)) == ("running", True)
    container = own.container(second)
    assert container
    client.reboot_instances(InstanceIds=[second])
    rebooted = own.container(second)
    assert rebooted
    assert rebooted["State"]["StartedAt"] > container["State"]["StartedAt"]
    client.terminate_instances(InstanceIds=[first, second])
    assert [own.state(first), own.state(second)] == ["terminated", "terminated"]
    assert (own.container(first), own.container(second)) == (None, None)


def test_answers_still_tell_of_the_transition(own: Plane) -> None:
    made = own.client().run_instances(ImageId=AMI, MinCount=1, MaxCount=1)["Instances"][0]
    assert made["State"]["Name"] == "pending"
    ended = own.client().terminate_instances(InstanceIds=[made["InstanceId"]])["TerminatingInstances"][0]
    assert ended["CurrentState"]["Name"] == "shutting-down"


def test_a_group_s_instances_run_when_it_is_made(own: Plane) -> None:
    groups = own.client("autoscaling")
    groups.create_launch_configuration(LaunchConfigurationName="c", ImageId=AMI, InstanceType="t3.nano")
    zones = ["us-east-1a"]
    groups.create_auto_scaling_group(
        AutoScalingGroupName="g", LaunchConfigurationName="c", MinSize=0, MaxSize=2, AvailabilityZones=zones
    )
    groups.set_desired_capacity(AutoScalingGroupName="g", DesiredCapacity=2)
    members = [one["InstanceId"] for one in groups.describe_auto_scaling_instances()["AutoScalingInstances"]]
    assert [running(own, member) for member in members] == [True, True]
    groups.delete_auto_scaling_group(AutoScalingGroupName="g", ForceDelete=True)
    assert [own.container(member) for member in members] == [None, None]


def test_the_wait_has_an_end(tmp_path: Path) -> None:
    intent = Intent(Settings(tmp_path), threading.RLock(), None, "", lambda: True)  # type: ignore[arg-type]
    intent._instances = {"i-1": SimpleNamespace(oblako=Backing(written="pending"))}
    begun = time.monotonic()
    intent.settle(0.2)
    assert 0.2 <= time.monotonic() - begun < 5
    intent._instances.clear()
    intent.settle(60)
    assert time.monotonic() - begun < 10
