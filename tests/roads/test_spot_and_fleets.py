"""Spot requests and fleets: their instances are containers like all others."""

from __future__ import annotations

import base64
import uuid
from typing import Any

import pytest

from oblako_magic.engine import build
from tests.support.plane import ControlPlane, eventually
from tests.support.world import describe, gone, launch, running, runs, tags, until_user_data

SCRIPT = base64.b64encode(b"#!/bin/sh\necho fleet > /ran\n").decode()


def test_spot_by_market_options(shared_control_plane: ControlPlane, shared_ec2: Any) -> None:
    (instance_id,) = launch(shared_ec2, InstanceMarketOptions={"MarketType": "spot"})
    running(shared_control_plane, instance_id)
    assert describe(shared_ec2, instance_id)["InstanceLifecycle"] == "spot"
    shared_ec2.terminate_instances(InstanceIds=[instance_id])
    gone(shared_control_plane, instance_id)


def test_spot_requests(shared_control_plane: ControlPlane, shared_ec2: Any) -> None:
    plane, ec2 = shared_control_plane, shared_ec2
    specification = {"ImageId": build.TINY_IMAGE, "InstanceType": "t3.nano", "UserData": SCRIPT}
    answer = ec2.request_spot_instances(SpotPrice="0.5", InstanceCount=2, LaunchSpecification=specification)
    requests = [request["SpotInstanceRequestId"] for request in answer["SpotInstanceRequests"]]
    shown = ec2.describe_spot_instance_requests(SpotInstanceRequestIds=requests)["SpotInstanceRequests"]
    ids = [request["InstanceId"] for request in shown]
    assert len(set(ids)) == 2
    running(plane, *ids)
    assert until_user_data(plane, ids[0]) == "fleet\n"
    assert {describe(ec2, instance_id)["InstanceLifecycle"] for instance_id in ids} == {"spot"}
    # Cancelling a request leaves its instance alone (EC2 user guide, Cancel a Spot Instance request).
    ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=requests)
    assert (
        ec2.describe_spot_instance_requests(Filters=[{"Name": "state", "Values": ["active"]}])["SpotInstanceRequests"]
        == []
    )
    assert all(runs(plane, instance_id) and plane.state(instance_id) == "running" for instance_id in ids)
    ec2.terminate_instances(InstanceIds=ids)
    gone(plane, *ids)


@pytest.mark.parametrize("terminate", [True, False])
def test_spot_fleet(shared_control_plane: ControlPlane, shared_ec2: Any, terminate: bool) -> None:
    plane, ec2 = shared_control_plane, shared_ec2
    specification = {"ImageId": build.TINY_IMAGE, "InstanceType": "t3.nano", "UserData": SCRIPT}
    fleet = ec2.request_spot_fleet(
        SpotFleetRequestConfig={
            "TargetCapacity": 3,
            "SpotPrice": "0.5",
            "IamFleetRole": "arn:aws:iam::123456789012:role/fleet",
            "LaunchSpecifications": [specification],
        }
    )["SpotFleetRequestId"]
    active = ec2.describe_spot_fleet_instances(SpotFleetRequestId=fleet)["ActiveInstances"]
    ids = [instance["InstanceId"] for instance in active]
    assert len(set(ids)) == 3
    running(plane, *ids)
    # The engine is a moment ahead of the record.
    eventually(lambda: all(plane.state(instance_id) == "running" for instance_id in ids), what="all are running")
    ec2.cancel_spot_fleet_requests(SpotFleetRequestIds=[fleet], TerminateInstances=terminate)
    if not terminate:
        assert all(runs(plane, instance_id) and plane.state(instance_id) == "running" for instance_id in ids)
        ec2.terminate_instances(InstanceIds=ids)
        # Nothing is left to terminate, and that is no fault.
        ec2.cancel_spot_fleet_requests(SpotFleetRequestIds=[fleet], TerminateInstances=True)
    gone(plane, *ids)


def test_spot_fleet_scaled_down(shared_control_plane: ControlPlane, shared_ec2: Any) -> None:
    plane, ec2 = shared_control_plane, shared_ec2
    specification = {"ImageId": build.TINY_IMAGE, "InstanceType": "t3.nano"}
    fleet = ec2.request_spot_fleet(
        SpotFleetRequestConfig={
            "TargetCapacity": 2,
            "SpotPrice": "0.5",
            "IamFleetRole": "arn:aws:iam::123456789012:role/fleet",
            "LaunchSpecifications": [specification],
        }
    )["SpotFleetRequestId"]

    def members() -> set[str]:
        active = ec2.describe_spot_fleet_instances(SpotFleetRequestId=fleet)["ActiveInstances"]
        return {instance["InstanceId"] for instance in active}

    before = members()
    running(plane, *before)
    ec2.modify_spot_fleet_request(SpotFleetRequestId=fleet, TargetCapacity=1)
    after = members()
    assert len(after) == 1
    gone(plane, *(before - after))
    ec2.modify_spot_fleet_request(SpotFleetRequestId=fleet, TargetCapacity=2)
    grown = members()
    assert after < grown
    running(plane, *grown)
    ec2.cancel_spot_fleet_requests(SpotFleetRequestIds=[fleet], TerminateInstances=True)
    gone(plane, *grown)


@pytest.mark.parametrize("kind", ["instant", "maintain"])
def test_fleet(shared_control_plane: ControlPlane, shared_ec2: Any, kind: str) -> None:
    plane, ec2 = shared_control_plane, shared_ec2
    name = f"fleet-{uuid.uuid4().hex[:8]}"
    data = {
        "ImageId": build.TINY_IMAGE,
        "InstanceType": "t3.nano",
        "UserData": SCRIPT,
        "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "Fleet", "Value": name}]}],
    }
    ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)
    answer = ec2.create_fleet(
        Type=kind,
        LaunchTemplateConfigs=[{"LaunchTemplateSpecification": {"LaunchTemplateName": name, "Version": "$Latest"}}],
        TargetCapacitySpecification={
            "TotalTargetCapacity": 3,
            "OnDemandTargetCapacity": 2,
            "SpotTargetCapacity": 1,
            "DefaultTargetCapacityType": "on-demand",
        },
    )
    fleet = answer["FleetId"]
    shown = ec2.describe_fleet_instances(FleetId=fleet)["ActiveInstances"]
    ids = {instance["InstanceId"] for instance in shown}
    if kind == "instant":
        assert {i for item in answer["Instances"] for i in item["InstanceIds"]} == ids
    assert len(ids) == 3
    containers = running(plane, *ids)
    assert {container["Config"]["Image"] for container in containers} == {build.TINY_IMAGE}
    some = min(ids)
    assert until_user_data(plane, some) == "fleet\n"
    assert tags(describe(ec2, some))["Fleet"] == name
    lifecycles = [describe(ec2, instance_id).get("InstanceLifecycle") for instance_id in ids]
    assert lifecycles.count("spot") == 1

    ec2.delete_fleets(FleetIds=[fleet], TerminateInstances=True)
    gone(plane, *ids)


def test_fleet_deleted_without_termination(shared_control_plane: ControlPlane, shared_ec2: Any) -> None:
    plane, ec2 = shared_control_plane, shared_ec2
    name = f"fleet-{uuid.uuid4().hex[:8]}"
    data = {"ImageId": build.TINY_IMAGE, "InstanceType": "t3.nano"}
    ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)
    fleet = ec2.create_fleet(
        Type="maintain",
        LaunchTemplateConfigs=[{"LaunchTemplateSpecification": {"LaunchTemplateName": name, "Version": "$Latest"}}],
        TargetCapacitySpecification={"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "on-demand"},
    )["FleetId"]
    (instance,) = ec2.describe_fleet_instances(FleetId=fleet)["ActiveInstances"]
    instance_id = instance["InstanceId"]
    running(plane, instance_id)
    ec2.delete_fleets(FleetIds=[fleet], TerminateInstances=False)
    assert plane.state(instance_id) == "running"
    assert runs(plane, instance_id)
    ec2.terminate_instances(InstanceIds=[instance_id])
    gone(plane, instance_id)
    # A fleet whose instances have gone already can be deleted all the same.
    again = ec2.delete_fleets(FleetIds=[fleet], TerminateInstances=True)["SuccessfulFleetDeletions"]
    assert [item["FleetId"] for item in again] == [fleet]
    eventually(lambda: plane.state(instance_id) == "terminated", what="terminated")
