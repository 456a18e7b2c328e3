"""boto3's RunInstances and its kin: what the engine has afterwards."""

from __future__ import annotations

import ipaddress
import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from oblako_magic import names
from oblako_magic.engine import build
from tests.support.plane import ControlPlane, eventually
from tests.support.world import describe, gone, instances, launch, running, runs, started_at, tags, until_user_data


def test_one_instance_lives_until_it_is_terminated(shared_control_plane: ControlPlane, shared_ec2: Any) -> None:
    plane, ec2 = shared_control_plane, shared_ec2
    (instance_id,) = launch(ec2, InstanceType="t3.nano")
    ec2.get_waiter("instance_running").wait(InstanceIds=[instance_id], WaiterConfig={"Delay": 1})
    container = plane.container(instance_id)
    assert container is not None
    assert container["State"]["Running"]
    assert container["HostConfig"]["Privileged"] is False
    mounts = [mount for mount in container["Mounts"] if mount["Type"] == "volume"]
    assert [(mount["Name"], mount["Destination"]) for mount in mounts] == [
        (names.root_volume_name(instance_id), names.ROOT_MOUNT)
    ]
    assert not any("docker.sock" in mount["Source"] for mount in container["Mounts"])

    plane.execute(instance_id, "sh", "-c", "echo kept > /ebs/note")
    ec2.stop_instances(InstanceIds=[instance_id])
    ec2.get_waiter("instance_stopped").wait(InstanceIds=[instance_id], WaiterConfig={"Delay": 1})
    assert not runs(plane, instance_id)
    assert names.root_volume_name(instance_id) in plane.volumes()

    ec2.start_instances(InstanceIds=[instance_id])
    ec2.get_waiter("instance_running").wait(InstanceIds=[instance_id], WaiterConfig={"Delay": 1})
    assert plane.execute(instance_id, "cat", "/ebs/note") == (0, "kept\n")
    assert plane.container(instance_id)["Id"] == container["Id"]  # type: ignore[index]

    ec2.terminate_instances(InstanceIds=[instance_id])
    ec2.get_waiter("instance_terminated").wait(InstanceIds=[instance_id], WaiterConfig={"Delay": 1})
    assert plane.container(instance_id) is None
    assert names.root_volume_name(instance_id) not in plane.volumes()


def test_several_at_once_are_distinct(shared_control_plane: ControlPlane, shared_ec2: Any) -> None:
    plane, ec2 = shared_control_plane, shared_ec2
    ids = launch(ec2, 4, InstanceType="t3.nano")
    assert len(set(ids)) == 4
    containers = running(plane, *ids)
    assert len({container["Id"] for container in containers}) == 4

    described = [describe(ec2, instance_id) for instance_id in ids]
    private = {instance["PrivateIpAddress"] for instance in described}
    public = {instance["PublicIpAddress"] for instance in described}
    assert len(private) == len(public) == 4
    for instance, container in zip(described, containers, strict=True):
        (subnet,) = ec2.describe_subnets(SubnetIds=[instance["SubnetId"]])["Subnets"]
        assert subnet["DefaultForAz"]
        assert ipaddress.ip_address(instance["PrivateIpAddress"]) in ipaddress.ip_network(subnet["CidrBlock"])
        assert container["Config"]["Hostname"] == names.hostname(instance["PrivateIpAddress"])
    ec2.terminate_instances(InstanceIds=ids)
    gone(plane, *ids)


def test_max_count_is_what_is_launched(shared_control_plane: ControlPlane, shared_ec2: Any) -> None:
    """There is room for three, so that three are launched (API reference, RunInstances, MaxCount)."""
    ids = launch(shared_ec2, MinCount=1, MaxCount=3)
    assert len(ids) == 3
    running(shared_control_plane, *ids)
    shared_ec2.terminate_instances(InstanceIds=ids)
    gone(shared_control_plane, *ids)


@pytest.mark.parametrize(("least", "most"), [(2, 1), (0, 1)])
def test_impossible_counts_launch_nothing(
    shared_control_plane: ControlPlane, shared_ec2: Any, least: int, most: int
) -> None:
    before = len(shared_control_plane.containers())
    with pytest.raises(ClientError, match="InvalidParameterValue"):
        launch(shared_ec2, MinCount=least, MaxCount=most, TagSpecifications=_tagged(Case=f"count-{least}"))
    assert instances(shared_ec2, tag__Case=f"count-{least}") == []
    assert len(shared_control_plane.containers()) <= before


def _tagged(**values: str) -> list[dict[str, Any]]:
    pairs = [{"Key": key, "Value": value} for key, value in values.items()]
    return [{"ResourceType": "instance", "Tags": pairs}]


def test_subnet_and_address_of_the_request(shared_control_plane: ControlPlane, shared_ec2: Any) -> None:
    plane, ec2 = shared_control_plane, shared_ec2
    vpc = ec2.create_vpc(CidrBlock="10.40.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.40.7.0/24")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName="road", Description="road", VpcId=vpc)["GroupId"]
    first, second = launch(ec2, 2, SubnetId=subnet, SecurityGroupIds=[group])
    (third,) = launch(ec2, SubnetId=subnet, PrivateIpAddress="10.40.7.77")
    running(plane, first, second, third)
    described = [describe(ec2, instance_id) for instance_id in (first, second, third)]
    addresses = [ipaddress.ip_address(instance["PrivateIpAddress"]) for instance in described]
    assert all(address in ipaddress.ip_network("10.40.7.0/24") for address in addresses)
    assert len(set(addresses)) == 3
    assert str(addresses[2]) == "10.40.7.77"
    assert {instance["VpcId"] for instance in described} == {vpc}
    assert [g["GroupId"] for g in described[0]["SecurityGroups"]] == [group]
    # This subnet gives no public addresses (MapPublicIpOnLaunch is off unless asked for).
    assert "PublicIpAddress" not in described[0]
    ec2.terminate_instances(InstanceIds=[first, second, third])
    gone(plane, first, second, third)


def test_address_is_kept_over_stop_and_start(shared_control_plane: ControlPlane, shared_ec2: Any) -> None:
    plane, ec2 = shared_control_plane, shared_ec2
    (instance_id,) = launch(ec2)
    running(plane, instance_id)
    before = describe(ec2, instance_id)["PrivateIpAddress"]
    ec2.stop_instances(InstanceIds=[instance_id])
    eventually(lambda: plane.state(instance_id) == "stopped", what="stopped")
    ec2.start_instances(InstanceIds=[instance_id])
    (container,) = running(plane, instance_id)
    assert describe(ec2, instance_id)["PrivateIpAddress"] == before
    assert container["Config"]["Hostname"] == names.hostname(before)
    ec2.terminate_instances(InstanceIds=[instance_id])
    gone(plane, instance_id)


def _volume_of(ec2: Any, instance_id: str) -> dict[str, Any]:
    instance = describe(ec2, instance_id)
    roots = [m for m in instance["BlockDeviceMappings"] if m["DeviceName"] == instance["RootDeviceName"]]
    assert len(roots) == 1, instance["BlockDeviceMappings"]
    return dict(roots[0]["Ebs"])


AMAZON_LINUX = "resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
OLD_AMI = "ami-12c6146b"


@pytest.mark.parametrize(
    ("image", "device", "mappings", "by_template"),
    [
        pytest.param(OLD_AMI, "/dev/sda1", None, False, id="none"),
        pytest.param(AMAZON_LINUX, "/dev/xvda", None, False, id="none, Amazon Linux"),
        pytest.param(OLD_AMI, "/dev/sda1", [{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 4}}], False, id="other"),
        pytest.param(
            AMAZON_LINUX, "/dev/xvda", [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 20}}], False, id="root"
        ),
        pytest.param(
            AMAZON_LINUX, "/dev/xvda", [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeType": "gp3"}}], False, id="no size"
        ),
        pytest.param(OLD_AMI, "/dev/sda1", [{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 4}}], True, id="template"),
        pytest.param(
            AMAZON_LINUX,
            "/dev/xvda",
            [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 20}}],
            True,
            id="template, root",
        ),
    ],
)
def test_there_is_always_one_root_volume(
    shared_control_plane: ControlPlane,
    shared_ec2: Any,
    image: str,
    device: str,
    mappings: list[dict[str, Any]] | None,
    by_template: bool,
) -> None:
    """Instances have one root device whatever the mappings say (EC2 user guide, Block device mappings)."""
    plane, ec2 = shared_control_plane, shared_ec2
    before = {volume["VolumeId"] for volume in ec2.describe_volumes()["Volumes"]}
    given: dict[str, Any] = {"ImageId": image, **({"BlockDeviceMappings": mappings} if mappings else {})}
    if by_template:
        name = f"root-{uuid.uuid4().hex}"
        ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=given)
        given = {"LaunchTemplate": {"LaunchTemplateName": name}}
    instance_id = ec2.run_instances(MinCount=1, MaxCount=1, **given)["Instances"][0]["InstanceId"]
    running(plane, instance_id)
    assert describe(ec2, instance_id)["RootDeviceName"] == device
    root = _volume_of(ec2, instance_id)
    assert root["DeleteOnTermination"] is True
    assert names.root_volume_name(instance_id) in plane.volumes()
    wanted = [m["Ebs"].get("VolumeSize") for m in mappings or [] if m["DeviceName"] == device]
    size = ec2.describe_volumes(VolumeIds=[root["VolumeId"]])["Volumes"][0]["Size"]
    assert size == ((wanted and wanted[0]) or 8)
    made = {volume["VolumeId"] for volume in ec2.describe_volumes()["Volumes"]} - before
    assert len(made) == (2 if mappings and mappings[0]["DeviceName"] != device else 1)
    ec2.terminate_instances(InstanceIds=[instance_id])
    gone(plane, instance_id)


def test_a_kept_root_volume_lives_until_delete_volume(shared_control_plane: ControlPlane, shared_ec2: Any) -> None:
    plane, ec2 = shared_control_plane, shared_ec2
    keep = [{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 8, "DeleteOnTermination": False}}]
    (instance_id,) = launch(ec2, BlockDeviceMappings=keep)
    running(plane, instance_id)
    plane.execute(instance_id, "sh", "-c", "echo precious > /ebs/data")
    volume_id = _volume_of(ec2, instance_id)["VolumeId"]
    ec2.terminate_instances(InstanceIds=[instance_id])
    eventually(lambda: plane.container(instance_id) is None, what="the container is gone")
    eventually(lambda: plane.state(instance_id) == "terminated", what="terminated")
    assert ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]["State"] == "available"
    volume = names.root_volume_name(instance_id)
    assert volume in plane.volumes()
    assert _content(plane, volume, "data") == "precious\n"
    ec2.delete_volume(VolumeId=volume_id)
    eventually(lambda: volume not in plane.volumes(), what="the volume is gone with DeleteVolume")


def _content(plane: ControlPlane, volume: str, path: str) -> str:
    """Read a file in a volume that no instance has any more."""
    api = plane.engine.api
    key, _, value = plane.label.partition("=")
    config = api.create_host_config(binds=[f"{volume}:/v:ro"])
    made = api.create_container(build.TINY_IMAGE, ["cat", f"/v/{path}"], host_config=config, labels={key: value})
    try:
        api.start(made["Id"])
        api.wait(made["Id"], timeout=20)
        return str(api.logs(made["Id"]).decode())
    finally:
        api.remove_container(made["Id"], force=True)


def test_user_data_runs_once_as_root(shared_control_plane: ControlPlane, shared_ec2: Any) -> None:
    plane, ec2 = shared_control_plane, shared_ec2
    script = '#!/bin/sh\necho "$(id -u) $(hostname)" >> /ran\necho to the console\n'
    (instance_id,) = launch(ec2, UserData=script)
    address = describe(ec2, instance_id)["PrivateIpAddress"]
    assert until_user_data(plane, instance_id) == f"0 {names.hostname(address)}\n"
    eventually(
        lambda: "to the console" in ec2.get_console_output(InstanceId=instance_id).get("Output", ""),
        what="the console has the script's output",
    )
    before = started_at(plane, instance_id)
    ec2.reboot_instances(InstanceIds=[instance_id])
    eventually(lambda: runs(plane, instance_id) and started_at(plane, instance_id) != before, what="rebooted")
    assert plane.execute(instance_id, "cat", "/ran") == (0, f"0 {names.hostname(address)}\n")
    ec2.terminate_instances(InstanceIds=[instance_id])
    gone(plane, instance_id)


def test_launch_template_gives_image_type_user_data_and_tags(
    shared_control_plane: ControlPlane, shared_ec2: Any
) -> None:
    plane, ec2 = shared_control_plane, shared_ec2
    import base64

    group = ec2.create_security_group(GroupName="from-template", Description="x")["GroupId"]
    data = {
        "ImageId": build.TINY_IMAGE,
        "InstanceType": "t3.small",
        "UserData": base64.b64encode(b"#!/bin/sh\necho template > /ran\n").decode(),
        "TagSpecifications": _tagged(Name="from-template"),
        "SecurityGroupIds": [group],
    }
    ec2.create_launch_template(LaunchTemplateName="one", LaunchTemplateData=data)
    template = {"LaunchTemplateName": "one"}
    answer = ec2.run_instances(MinCount=1, MaxCount=1, LaunchTemplate=template)["Instances"][0]
    instance_id = answer["InstanceId"]
    (container,) = running(plane, instance_id)
    assert container["Config"]["Image"] == build.TINY_IMAGE
    assert container["HostConfig"]["Memory"] == _memory(plane, 2048)
    assert until_user_data(plane, instance_id) == "template\n"
    instance = describe(ec2, instance_id)
    assert instance["InstanceType"] == "t3.small"
    assert tags(instance)["Name"] == "from-template"
    assert [g["GroupId"] for g in instance["SecurityGroups"]] == [group]

    # What the request says itself comes before the template.
    own = launch(ec2, LaunchTemplate=template, InstanceType="t3.nano", UserData="#!/bin/sh\necho own > /ran\n")[0]
    (container,) = running(plane, own)
    assert container["HostConfig"]["Memory"] == _memory(plane, 512)
    assert until_user_data(plane, own) == "own\n"
    ec2.terminate_instances(InstanceIds=[instance_id, own])
    gone(plane, instance_id, own)


def _memory(plane: ControlPlane, mebibytes: int) -> int:
    return min(mebibytes, plane.engine.host[1]) << 20


def test_termination_protection(shared_control_plane: ControlPlane, shared_ec2: Any) -> None:
    plane, ec2 = shared_control_plane, shared_ec2
    (instance_id,) = launch(ec2)
    running(plane, instance_id)
    ec2.modify_instance_attribute(InstanceId=instance_id, DisableApiTermination={"Value": True})
    with pytest.raises(ClientError, match="OperationNotPermitted"):
        ec2.terminate_instances(InstanceIds=[instance_id])
    assert plane.state(instance_id) == "running"
    assert runs(plane, instance_id)
    ec2.modify_instance_attribute(InstanceId=instance_id, DisableApiTermination={"Value": False})
    ec2.terminate_instances(InstanceIds=[instance_id])
    gone(plane, instance_id)


def test_an_image_that_can_not_be_had_ends_terminated_with_the_reason(
    shared_control_plane: ControlPlane, shared_ec2: Any
) -> None:
    plane, ec2 = shared_control_plane, shared_ec2
    (instance_id,) = launch(ec2, ImageId="localhost:1/oblako/no-such-image:1")
    eventually(lambda: plane.state(instance_id) == "terminated", what="terminated")
    reason = describe(ec2, instance_id)["StateReason"]
    assert "localhost:1/oblako/no-such-image:1" in reason["Message"]
    assert reason["Code"] == "Client.InternalError"
    gone(plane, instance_id)


def test_dry_run_launches_nothing(shared_control_plane: ControlPlane, shared_ec2: Any) -> None:
    with pytest.raises(ClientError, match="DryRunOperation"):
        launch(shared_ec2, DryRun=True, TagSpecifications=_tagged(Case="dry"))
    assert instances(shared_ec2, tag__Case="dry") == []
