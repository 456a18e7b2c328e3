"""State of another version loads; where it can't, it is set aside and instances are rebuilt from their containers.

The sample was written by version 0.1.0 while its engine was away: one instance waits for its launch, one to be
stopped, one to be terminated, one is simulated.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from oblako_magic import names
from oblako_magic.controlplane.store import FORMAT, MAGIC
from oblako_magic.engine import Engine
from tests.controlplane.planes import Plane, running_plane
from tests.support.plane import eventually

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "state-format-1.bin"
LAUNCHED, STOPPED, TERMINATED, SIMULATED = (
    "i-8f2b510323d20d7cd",
    "i-0ad96c20024332637",
    "i-13bcda35b14e2a76a",
    "i-eee1c6be4cebe1c01",
)


@pytest.fixture(scope="module")
def upgraded(engine_backend: Engine, run_label: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """A control plane that finds the state of an earlier one."""
    state = tmp_path_factory.mktemp("upgrade") / "state"
    state.mkdir(mode=0o700)
    shutil.copyfile(SAMPLE, state / "state.bin")
    with running_plane(engine_backend, state, run_label, f"{run_label}-upgrade", {}) as plane:
        yield plane


def test_state_of_an_earlier_version_loads_and_what_was_asked_for_is_done(upgraded: Plane) -> None:
    assert upgraded.api("GET", "/status")["notices"] == []
    upgraded.until(LAUNCHED, "running")
    upgraded.until(STOPPED, "stopped")
    upgraded.until(TERMINATED, "terminated")
    upgraded.until(SIMULATED, "running")
    launched = upgraded.describe(LAUNCHED)
    assert (launched["PrivateIpAddress"], launched["InstanceType"]) == ("172.31.0.4", "t3.small")
    assert {"Key": "Name", "Value": "launched"} in launched["Tags"]
    eventually(lambda: upgraded.read(LAUNCHED, "/ebs/user-data") == "ran\n")
    assert [port["container_port"] for port in upgraded.seen(LAUNCHED)["ports"]] == [80]
    # The record was saved before there were ports that are published later.
    live = upgraded.api("POST", "/publish", {"id": LAUNCHED, "port": 81})
    told = [(port["container_port"], port["live"]) for port in upgraded.seen(LAUNCHED)["ports"]]
    assert told == [(80, False), (81, True)]
    assert live["live"]
    assert [upgraded.container(key) for key in (STOPPED, TERMINATED, SIMULATED)] == [None, None, None]
    upgraded.client().start_instances(InstanceIds=[STOPPED])
    upgraded.until(STOPPED, "running")
    assert upgraded.container(STOPPED) is not None
    ec2 = upgraded.client()
    (group,) = ec2.describe_security_groups(GroupNames=["web"])["SecurityGroups"]
    assert group["IpPermissions"][0]["FromPort"] == 80
    assert [volume["Size"] for volume in ec2.describe_volumes()["Volumes"] if not volume["Attachments"]] == [3]
    assert len(ec2.describe_addresses()["Addresses"]) == 1
    assert ec2.describe_launch_templates()["LaunchTemplates"][0]["LaunchTemplateName"] == "base"
    stacks = upgraded.client("cloudformation").describe_stacks()["Stacks"]
    assert [(stack["StackName"], stack["StackStatus"]) for stack in stacks] == [("stack", "CREATE_COMPLETE")]
    groups = upgraded.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
    assert [group["AutoScalingGroupName"] for group in groups] == ["group"]
    assert upgraded.client("ssm").get_parameter(Name="/p")["Parameter"]["Value"] == "kept"


def test_state_of_an_unknown_format_is_set_aside_and_instances_are_rebuilt(upgraded: Plane) -> None:
    eventually(lambda: upgraded.seen(LAUNCHED)["container_id"])
    before, described = upgraded.container(LAUNCHED), upgraded.describe(LAUNCHED)
    assert before is not None
    upgraded.stop()
    state = upgraded.settings.state_file
    head, _, data = state.read_bytes().partition(b"\n")
    header = {**json.loads(head[len(MAGIC) :]), "format": FORMAT + 98}
    later = MAGIC + json.dumps(header).encode() + b"\n" + data
    state.write_bytes(later)
    upgraded.start()
    (aside,) = state.parent.glob("state.bin.unreadable-*")
    assert aside.read_bytes() == later
    notices = "\n".join(upgraded.api("GET", "/status")["notices"])
    assert f"its format is {FORMAT + 98}, not {FORMAT}" in notices
    assert LAUNCHED in notices
    assert STOPPED in notices
    now, after = upgraded.describe(LAUNCHED), upgraded.container(LAUNCHED)
    assert now["State"]["Name"] == "running"
    for field in ("InstanceType", "ImageId", "LaunchTime", "PrivateIpAddress"):
        assert now[field] == described[field], field
    assert after is not None
    assert (after["Id"], after["State"]["StartedAt"]) == (before["Id"], before["State"]["StartedAt"])
    assert upgraded.read(LAUNCHED, "/ebs/user-data") == "ran\n"
    upgraded.client().terminate_instances(InstanceIds=[LAUNCHED, STOPPED])
    upgraded.until(LAUNCHED, "terminated")
    upgraded.until(STOPPED, "terminated")
    assert names.root_volume_name(LAUNCHED) not in upgraded.volumes()
