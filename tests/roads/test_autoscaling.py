"""Auto Scaling groups: what a group says it has, the engine has."""

from __future__ import annotations

import base64
import time
import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from oblako_magic import names
from oblako_magic.engine import build
from tests.support.plane import ControlPlane, eventually
from tests.support.world import describe, gone, instances, running, runs, tags, until_user_data


class Group:
    """One group, by a launch configuration or a launch template."""

    def __init__(self, plane: ControlPlane, by: str, size: int, script: str = "#!/bin/sh\n") -> None:
        self.plane = plane
        self.ec2 = plane.client()
        self.client = plane.client("autoscaling")
        self.name = f"group-{uuid.uuid4().hex[:8]}"
        source: dict[str, Any]
        if by == "configuration":
            # Here botocore encodes the user data, in launch templates it does not.
            self.client.create_launch_configuration(
                LaunchConfigurationName=self.name, ImageId=build.TINY_IMAGE, InstanceType="t3.nano", UserData=script
            )
            source = {"LaunchConfigurationName": self.name}
        else:
            encoded = base64.b64encode(script.encode()).decode()
            data = {"ImageId": build.TINY_IMAGE, "InstanceType": "t3.nano", "UserData": encoded}
            self.ec2.create_launch_template(LaunchTemplateName=self.name, LaunchTemplateData=data)
            source = {"LaunchTemplate": {"LaunchTemplateName": self.name, "Version": "$Latest"}}
        self.client.create_auto_scaling_group(
            AutoScalingGroupName=self.name,
            MinSize=0,
            MaxSize=5,
            DesiredCapacity=size,
            AvailabilityZones=["us-east-1a", "us-east-1b"],
            Tags=[{"Key": "Case", "Value": self.name, "PropagateAtLaunch": True}],
            **source,
        )

    def members(self) -> set[str]:
        """The ids of the group's members, as the group has them."""
        (group,) = self.client.describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])["AutoScalingGroups"]
        return {member["InstanceId"] for member in group["Instances"]}

    def capacity(self) -> int:
        (group,) = self.client.describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])["AutoScalingGroups"]
        return int(group["DesiredCapacity"])

    def containers(self) -> set[str]:
        """The ids of the group's instances whose container runs, whatever the group says."""
        found = instances(self.ec2, tag__Case=self.name)
        return {i["InstanceId"] for i in found if runs(self.plane, i["InstanceId"])}

    def settle(self, size: int) -> set[str]:
        """Wait until so many containers run, and they are the members."""
        eventually(lambda: len(self.containers()) == size, what=f"{size} containers of {self.name}")
        members = self.members()
        assert members == self.containers()
        return members

    def delete(self) -> None:
        members = {i["InstanceId"] for i in instances(self.ec2, tag__Case=self.name)}
        self.client.delete_auto_scaling_group(AutoScalingGroupName=self.name, ForceDelete=True)
        if members:
            gone(self.plane, *members)


@pytest.mark.parametrize("by", ["configuration", "template"])
def test_capacity_up_and_down_and_delete(shared_control_plane: ControlPlane, by: str) -> None:
    group = Group(shared_control_plane, by, 2, "#!/bin/sh\necho member > /ran\n")
    first = group.settle(2)
    for instance_id in first:
        assert until_user_data(group.plane, instance_id) == "member\n"
        described = describe(group.ec2, instance_id)
        assert described["InstanceType"] == "t3.nano"
        assert tags(described)["aws:autoscaling:groupName"] == group.name
        container = group.plane.container(instance_id)
        assert container is not None
        assert container["Config"]["Image"] == build.TINY_IMAGE

    group.client.set_desired_capacity(AutoScalingGroupName=group.name, DesiredCapacity=4)
    grown = group.settle(4)
    assert first < grown

    group.client.update_auto_scaling_group(AutoScalingGroupName=group.name, MinSize=0, MaxSize=5, DesiredCapacity=1)
    left = group.settle(1)
    assert left < grown
    gone(group.plane, *(grown - left))

    group.delete()
    assert group.containers() == set()
    assert group.client.describe_auto_scaling_groups(AutoScalingGroupNames=[group.name])["AutoScalingGroups"] == []


@pytest.mark.parametrize("decrement", [False, True])
def test_terminate_by_auto_scaling(shared_control_plane: ControlPlane, decrement: bool) -> None:
    group = Group(shared_control_plane, "template", 2)
    before = group.settle(2)
    victim = min(before)
    group.client.terminate_instance_in_auto_scaling_group(InstanceId=victim, ShouldDecrementDesiredCapacity=decrement)
    gone(group.plane, victim)
    after = group.settle(1 if decrement else 2)
    assert victim not in after
    assert group.capacity() == (1 if decrement else 2)
    assert before - {victim} <= after
    group.delete()


def test_a_member_that_is_terminated_is_replaced(shared_control_plane: ControlPlane) -> None:
    group = Group(shared_control_plane, "configuration", 2)
    before = group.settle(2)
    victim = min(before)
    group.ec2.terminate_instances(InstanceIds=[victim])
    gone(group.plane, victim)
    after = group.settle(2)
    assert victim not in after
    running(group.plane, *after)
    assert len(after - before) == 1
    # All at once, too.
    group.ec2.terminate_instances(InstanceIds=sorted(after))
    gone(group.plane, *after)
    assert group.settle(2).isdisjoint(after)
    group.delete()


def test_detached_instances_live_on(shared_control_plane: ControlPlane) -> None:
    group = Group(shared_control_plane, "configuration", 2)
    before = group.settle(2)
    free = min(before)
    group.client.detach_instances(
        AutoScalingGroupName=group.name, InstanceIds=[free], ShouldDecrementDesiredCapacity=True
    )
    assert group.members() == before - {free}
    group.client.delete_auto_scaling_group(AutoScalingGroupName=group.name, ForceDelete=True)
    gone(group.plane, *(before - {free}))
    assert runs(group.plane, free)
    group.ec2.terminate_instances(InstanceIds=[free])
    gone(group.plane, free)


def test_members_are_registered_with_a_target_group(shared_control_plane: ControlPlane) -> None:
    plane = shared_control_plane
    elb, ec2 = plane.client("elbv2"), plane.client()
    vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
    arn = elb.create_target_group(Name=f"t-{uuid.uuid4().hex[:8]}", Protocol="HTTP", Port=80, VpcId=vpc)[
        "TargetGroups"
    ][0]["TargetGroupArn"]

    def targets() -> set[str]:
        health = elb.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
        return {one["Target"]["Id"] for one in health}

    group = Group(plane, "template", 2)
    group.client.attach_load_balancer_target_groups(AutoScalingGroupName=group.name, TargetGroupARNs=[arn])
    # While they are pending: the group launches and registers in one call.
    group.client.set_desired_capacity(AutoScalingGroupName=group.name, DesiredCapacity=3)
    members = group.settle(3)
    assert targets() == members
    [outsider] = ec2.run_instances(ImageId=build.TINY_IMAGE, MinCount=1, MaxCount=1)["Instances"]
    ec2.terminate_instances(InstanceIds=[outsider["InstanceId"]])
    with pytest.raises(elb.exceptions.InvalidTargetException):
        elb.register_targets(TargetGroupArn=arn, Targets=[{"Id": outsider["InstanceId"]}])
    group.client.delete_auto_scaling_group(AutoScalingGroupName=group.name, ForceDelete=True)
    gone(plane, *members)


def test_a_member_that_ends_by_itself_is_replaced(shared_control_plane: ControlPlane) -> None:
    group = Group(shared_control_plane, "template", 2)
    plane, before = group.plane, group.settle(2)
    dies, stays = sorted(before)
    plane.engine.api.stop(names.container_name(dies), timeout=1)
    gone(plane, dies)
    after = group.settle(2)
    assert stays in after
    assert dies not in after
    told = [
        one["Description"]
        for one in group.client.describe_scaling_activities(AutoScalingGroupName=group.name)["Activities"]
    ]
    (new,) = after - before
    assert f"Terminating EC2 instance: {dies}" in told
    assert f"Launching a new EC2 instance: {new}" in told
    group.delete()


def test_a_stopped_member_is_replaced_unless_that_is_suspended(shared_control_plane: ControlPlane) -> None:
    group = Group(shared_control_plane, "template", 1)
    plane = group.plane
    (first,) = group.settle(1)
    group.client.suspend_processes(AutoScalingGroupName=group.name, ScalingProcesses=["ReplaceUnhealthy"])
    group.ec2.stop_instances(InstanceIds=[first])
    eventually(lambda: plane.state(first) == "stopped", what="stopped")
    assert group.members() == {first}
    found = group.client.describe_auto_scaling_instances(InstanceIds=[first])["AutoScalingInstances"]
    assert [one["HealthStatus"].upper() for one in found] == ["UNHEALTHY"]
    group.client.resume_processes(AutoScalingGroupName=group.name)
    gone(plane, first)
    (second,) = group.settle(1)
    assert second != first
    assert plane.state(first) == "terminated"
    group.delete()


def test_a_member_that_is_called_unhealthy_is_replaced(shared_control_plane: ControlPlane) -> None:
    group = Group(shared_control_plane, "template", 2)
    plane, before = group.plane, group.settle(2)
    sick, stays = sorted(before)
    # Nobody looks at its health any more, but what is called unhealthy is replaced still.
    group.client.suspend_processes(AutoScalingGroupName=group.name, ScalingProcesses=["HealthCheck"])
    group.client.set_instance_health(InstanceId=sick, HealthStatus="Unhealthy")
    gone(plane, sick)
    after = group.settle(2)
    assert stays in after
    assert sick not in after
    activities = group.client.describe_scaling_activities(AutoScalingGroupName=group.name)["Activities"]
    (told,) = [one for one in activities if one["Description"] == f"Terminating EC2 instance: {sick}"]
    assert "in response to a user health-check" in told["Cause"]
    group.delete()


def test_a_member_has_its_grace_period_before_it_is_replaced(shared_control_plane: ControlPlane) -> None:
    group = Group(shared_control_plane, "template", 1)
    plane, client = group.plane, group.client
    (member,) = group.settle(1)

    def health() -> str:
        (found,) = client.describe_auto_scaling_instances(InstanceIds=[member])["AutoScalingInstances"]
        return str(found["HealthStatus"]).upper()

    (found,) = client.describe_auto_scaling_groups(AutoScalingGroupNames=[group.name])["AutoScalingGroups"]
    assert found["HealthCheckGracePeriod"] == 0
    client.update_auto_scaling_group(AutoScalingGroupName=group.name, HealthCheckGracePeriod=3600)
    client.set_instance_health(InstanceId=member, HealthStatus="Unhealthy")
    assert health() == "UNHEALTHY"
    time.sleep(2)  # longer than without it
    assert group.members() == {member}
    client.set_instance_health(InstanceId=member, HealthStatus="Healthy")
    assert health() == "HEALTHY"
    client.set_instance_health(InstanceId=member, HealthStatus="Unhealthy", ShouldRespectGracePeriod=False)
    gone(plane, member)
    assert group.settle(1) != {member}
    group.delete()


@pytest.mark.parametrize(
    ("instance_id", "status", "message"),
    [("i-0123456789abcdef0", "Unhealthy", "No managed instance found"), ("", "Sick", "Invalid health status: Sick")],
)
def test_health_of_nobody_or_none_is_refused(
    shared_control_plane: ControlPlane, instance_id: str, status: str, message: str
) -> None:
    client = shared_control_plane.client("autoscaling")
    with pytest.raises(ClientError, match=message) as caught:
        client.set_instance_health(InstanceId=instance_id or "i-0123456789abcdef0", HealthStatus=status)
    assert caught.value.response["Error"]["Code"] == "ValidationError"


def test_a_group_that_can_not_have_its_image_does_not_launch_all_the_time(shared_control_plane: ControlPlane) -> None:
    plane = shared_control_plane
    client, name = plane.client("autoscaling"), f"group-{uuid.uuid4().hex[:8]}"
    image = "localhost:1/oblako/no-such-image:1"
    client.create_launch_configuration(LaunchConfigurationName=name, ImageId=image, InstanceType="t3.nano")
    client.create_auto_scaling_group(
        AutoScalingGroupName=name,
        LaunchConfigurationName=name,
        MinSize=1,
        MaxSize=1,
        AvailabilityZones=["us-east-1a"],
        Tags=[{"Key": "Case", "Value": name, "PropagateAtLaunch": True}],
    )
    started = time.monotonic()

    def launched() -> list[str]:
        by = [{"Name": "tag:Case", "Values": [name]}]
        found = plane.client().describe_instances(Filters=by)["Reservations"]
        return [i["InstanceId"] for reservation in found for i in reservation["Instances"]]

    eventually(lambda: len(launched()) >= 3, timeout=30, what="it tries again")
    assert time.monotonic() - started >= 2, "and not at once"
    told = client.describe_scaling_activities(AutoScalingGroupName=name)["Activities"]
    assert any(image in one["Cause"] for one in told)
    client.delete_auto_scaling_group(AutoScalingGroupName=name, ForceDelete=True)
    gone(plane, *launched())
