"""EC2's rules that a setting changes, and what is remembered over a restart."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from oblako_magic import names
from oblako_magic.engine import Engine
from tests.controlplane.planes import AMI, Plane
from tests.controlplane.test_rules import SIMULATED, ids, refused, running, simulated
from tests.support.plane import eventually


@pytest.fixture(scope="module")
def small(engine_backend: Engine, new_plane: Callable[..., Any]) -> Iterator[Plane]:
    """Room for four instances of two vCPUs and half a GiB, or for two with a whole one."""
    with new_plane(engine_backend, OBLAKO_EC2_CAPACITY="8:2560") as one:
        yield one


@pytest.fixture
def empty(small: Plane) -> Iterator[Plane]:
    yield small
    left = sorted(ids(small))
    if left:
        small.client().terminate_instances(InstanceIds=left)
        eventually(lambda: all(small.state(one) == "terminated" for one in left))


class TestCapacity:
    """RunInstances: MaxCount where there is room for it, less where there is not, nothing below MinCount."""

    def test_as_many_as_there_is_room_for(self, empty: Plane) -> None:
        launched = simulated(empty, MinCount=1, MaxCount=9, InstanceType="t3.nano")["Instances"]
        assert len(launched) == 4
        before = ids(empty)
        refused("InsufficientInstanceCapacity", simulated, empty, InstanceType="t3.nano")
        assert ids(empty) == before
        empty.client().terminate_instances(InstanceIds=[launched[0]["InstanceId"]])
        eventually(lambda: empty.state(launched[0]["InstanceId"]) == "terminated")
        assert len(simulated(empty, MinCount=1, MaxCount=9, InstanceType="t3.nano")["Instances"]) == 1

    def test_memory_counts_too(self, empty: Plane) -> None:
        assert len(simulated(empty, MinCount=1, MaxCount=9, InstanceType="t3.micro")["Instances"]) == 2

    def test_a_stopped_instance_leaves_its_room_to_others(self, empty: Plane) -> None:
        launched = [i["InstanceId"] for i in simulated(empty, 4, InstanceType="t3.nano")["Instances"]]
        eventually(lambda: all(empty.state(one) == "running" for one in launched))
        empty.client().stop_instances(InstanceIds=launched)
        eventually(lambda: all(empty.state(one) == "stopped" for one in launched))
        again = simulated(empty, 4, InstanceType="t3.nano")["Instances"]
        assert len(again) == 4
        refused("InsufficientInstanceCapacity", empty.client().start_instances, InstanceIds=launched[:1])
        assert empty.state(launched[0]) == "stopped"


def simulated_template(plane: Plane, instance_type: str = "t3.nano") -> str:
    name = uuid.uuid4().hex
    data = {"ImageId": AMI, "InstanceType": instance_type, "TagSpecifications": SIMULATED}
    plane.client().create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)
    return name


class TestShortage:
    """Services take what there is room for (four), and say what is missing as AWS's do."""

    def members(self, plane: Plane, name: str) -> list[str]:
        (group,) = plane.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[name])[
            "AutoScalingGroups"
        ]
        assert group["DesiredCapacity"] == 5
        return [one["InstanceId"] for one in group["Instances"]]

    def test_a_group_stays_below_and_fills_up_later(self, empty: Plane) -> None:
        other = running(empty, InstanceType="t3.nano")
        name, client = simulated_template(empty), empty.client("autoscaling")
        client.create_auto_scaling_group(
            AutoScalingGroupName=name,
            LaunchTemplate={"LaunchTemplateName": name},
            MinSize=5,
            MaxSize=5,
            AvailabilityZones=["us-east-1a"],
        )
        assert len(self.members(empty, name)) == 3
        activities = client.describe_scaling_activities(AutoScalingGroupName=name)["Activities"]
        assert [one["StatusCode"] for one in activities] == ["Failed"] + ["Successful"] * 3
        assert "sufficient t3.nano capacity" in activities[0]["StatusMessage"]
        assert activities[0]["StatusMessage"].endswith("Launching EC2 instance failed.")
        empty.client().terminate_instances(InstanceIds=[other])
        eventually(lambda: len(self.members(empty, name)) == 4, what="a fourth member")
        assert client.describe_scaling_activities()["Activities"][0]["StatusCode"] == "Failed"
        client.delete_auto_scaling_group(AutoScalingGroupName=name, ForceDelete=True)

    @pytest.mark.parametrize("kind", ["instant", "maintain"])
    def test_a_fleet_answers_what_it_could_not_have(self, empty: Plane, kind: str) -> None:
        client, name = empty.client(), simulated_template(empty)
        specification = {"LaunchTemplateName": name, "Version": "$Latest"}
        answer = client.create_fleet(
            Type=kind,
            LaunchTemplateConfigs=[{"LaunchTemplateSpecification": specification}],
            TargetCapacitySpecification={"TotalTargetCapacity": 6, "DefaultTargetCapacityType": "on-demand"},
        )
        errors = [(one["ErrorCode"], one["Lifecycle"]) for one in answer.get("Errors", [])]
        assert errors == ([("InsufficientInstanceCapacity", "on-demand")] if kind == "instant" else [])
        active = client.describe_fleet_instances(FleetId=answer["FleetId"])["ActiveInstances"]
        assert len(active) == 4
        (fleet,) = client.describe_fleets(FleetIds=[answer["FleetId"]])["Fleets"]
        assert fleet["FulfilledCapacity"] == 4
        client.delete_fleets(FleetIds=[answer["FleetId"]], TerminateInstances=True)
        assert all(empty.state(one["InstanceId"]) in ("shutting-down", "terminated") for one in active)

    def test_a_spot_fleet(self, empty: Plane) -> None:
        client = empty.client()
        fleet = client.request_spot_fleet(
            SpotFleetRequestConfig={
                "TargetCapacity": 6,
                "SpotPrice": "0.5",
                "IamFleetRole": "arn:aws:iam::123456789012:role/fleet",
                "LaunchSpecifications": [{"ImageId": AMI, "InstanceType": "t3.nano", "TagSpecifications": SIMULATED}],
            }
        )["SpotFleetRequestId"]
        assert len(client.describe_spot_fleet_instances(SpotFleetRequestId=fleet)["ActiveInstances"]) == 4
        (shown,) = client.describe_spot_fleet_requests(SpotFleetRequestIds=[fleet])["SpotFleetRequestConfigs"]
        assert shown["SpotFleetRequestConfig"]["FulfilledCapacity"] == 4
        client.cancel_spot_fleet_requests(SpotFleetRequestIds=[fleet], TerminateInstances=True)

    def test_spot_requests_stay_open_until_there_is_room(self, empty: Plane) -> None:
        client = empty.client()
        made = client.request_spot_instances(
            InstanceCount=5,
            LaunchSpecification={"ImageId": AMI, "InstanceType": "t3.nano"},
            TagSpecifications=SIMULATED,
        )["SpotInstanceRequests"]
        requests = [one["SpotInstanceRequestId"] for one in made]
        assert [one["State"] for one in made] == ["active"] * 4 + ["open"]
        assert made[4]["Status"]["Code"] == "capacity-not-available"
        assert "InstanceId" not in made[4]
        client.terminate_instances(InstanceIds=[made[0]["InstanceId"]])

        def last() -> dict[str, Any]:
            found = client.describe_spot_instance_requests(SpotInstanceRequestIds=requests[4:])
            return dict(found["SpotInstanceRequests"][0])

        eventually(lambda: last()["State"] == "active", what="the last request is fulfilled")
        assert empty.state(last()["InstanceId"]) in ("pending", "running")
        client.cancel_spot_instance_requests(SpotInstanceRequestIds=requests)

    def test_a_stack_fails_with_the_reason(self, empty: Plane) -> None:
        simulated(empty, 4, InstanceType="t3.nano")
        before, stacks, name = ids(empty), empty.client("cloudformation"), f"stack-{uuid.uuid4().hex[:8]}"
        web = {"Type": "AWS::EC2::Instance", "Properties": {"ImageId": AMI, "InstanceType": "t3.nano"}}
        stacks.create_stack(StackName=name, TemplateBody=json.dumps({"Resources": {"Web": web}}))
        (stack,) = stacks.describe_stacks(StackName=name)["Stacks"]
        assert stack["StackStatus"] == "ROLLBACK_COMPLETE"
        assert "sufficient t3.nano capacity" in stack["StackStatusReason"]
        assert ids(empty) == before
        stacks.delete_stack(StackName=name)


@pytest.fixture(scope="module")
def forgetful(engine_backend: Engine, new_plane: Callable[..., Any]) -> Iterator[Plane]:
    """A terminated instance is described for two seconds."""
    with new_plane(engine_backend, OBLAKO_TERMINATED_VISIBLE="2", OBLAKO_RESYNC="1", OBLAKO_EC2_STRICT="off") as one:
        yield one


class TestTerminatedInstances:
    def test_they_are_seen_for_a_while_and_go(self, forgetful: Plane) -> None:
        plane, client = forgetful, forgetful.client()
        kept = running(plane)
        size = plane.settings.state_file.stat().st_size
        gone = [i["InstanceId"] for i in simulated(plane, 20)["Instances"]]
        client.terminate_instances(InstanceIds=gone)
        assert plane.state(gone[0]) in ("shutting-down", "terminated")
        eventually(lambda: ids(plane) == {kept}, timeout=10)
        refused("InvalidInstanceID.NotFound", client.describe_instances, InstanceIds=gone[:1])
        assert len(client.describe_network_interfaces()["NetworkInterfaces"]) == 1
        assert client.describe_tags(Filters=[{"Name": "resource-id", "Values": gone}])["Tags"] == []
        eventually(lambda: plane.settings.state_file.stat().st_size < size + 2000, timeout=5, what="a smaller file")
        client.terminate_instances(InstanceIds=[kept])

    @pytest.mark.parametrize("detached", [False, True])
    def test_a_kept_root_volume_outlives_its_record(self, forgetful: Plane, detached: bool) -> None:
        plane, client = forgetful, forgetful.client()
        root = [{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 8, "DeleteOnTermination": detached}}]
        instance_id = plane.run(BlockDeviceMappings=root)
        (device,) = plane.describe(instance_id)["BlockDeviceMappings"]
        if detached:
            client.stop_instances(InstanceIds=[instance_id])
            plane.until(instance_id, "stopped")
            client.detach_volume(VolumeId=device["Ebs"]["VolumeId"], InstanceId=instance_id)
        client.terminate_instances(InstanceIds=[instance_id])
        eventually(lambda: instance_id not in ids(plane), timeout=10)
        plane.restart()
        volume = names.root_volume_name(instance_id)
        assert volume in plane.volumes()
        assert volume not in str(plane.api("GET", "/orphans"))
        plane.client().delete_volume(VolumeId=device["Ebs"]["VolumeId"])
        eventually(lambda: volume not in plane.volumes(), timeout=10)

    def test_moto_s_habits_where_strictness_is_off(self, forgetful: Plane) -> None:
        instance_id = running(
            forgetful, ImageId="ami-0123456789abcdef0", InstanceType="t9.enormous", KeyName="nobody-made-it"
        )
        assert forgetful.describe(instance_id)["InstanceType"] == "t9.enormous"
        # What moto breaks on is refused all the same.
        refused("InvalidGroup.NotFound", simulated, forgetful, SecurityGroups=["nobody-made-it"])


def test_a_client_token_is_remembered_over_a_kill(engine_backend: Engine, new_plane: Callable[..., Any]) -> None:
    with new_plane(engine_backend) as plane:
        token = uuid.uuid4().hex
        first = simulated(plane, ClientToken=token)
        plane.kill()
        plane.start()
        plane._clients.clear()
        assert simulated(plane, ClientToken=token)["ReservationId"] == first["ReservationId"]
        refused("IdempotentParameterMismatch", simulated, plane, 2, ClientToken=token)
        assert len(ids(plane)) == 1
