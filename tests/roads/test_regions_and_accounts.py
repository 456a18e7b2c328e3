"""Every region and account that moto knows is backed, and kept apart from the others."""

from __future__ import annotations

import json
import uuid
from typing import Any

import boto3
import pytest

from oblako_magic import Ec2, names
from oblako_magic.engine import build
from tests.support.plane import ControlPlane
from tests.support.world import describe, gone, instances, launch, running, runs


def test_several_regions(shared_control_plane: ControlPlane) -> None:
    plane = shared_control_plane
    regions = ("us-east-1", "eu-central-1", "ap-southeast-2")
    ids = {region: launch(plane.client("ec2", region), ImageId=build.TINY_IMAGE)[0] for region in regions}
    containers = running(plane, *ids.values())
    for region, container in zip(regions, containers, strict=True):
        assert container["Config"]["Labels"][names.LABEL_REGION] == region
        shown = instances(plane.client("ec2", region))
        assert [instance["InstanceId"] for instance in shown] == [ids[region]]
        assert shown[0]["Placement"]["AvailabilityZone"].startswith(region)
    service = Ec2(plane.settings, region="eu-central-1")
    assert service.instances().ids == [ids["eu-central-1"]]
    plane.client("ec2", "eu-central-1").terminate_instances(InstanceIds=[ids["eu-central-1"]])
    gone(plane, ids["eu-central-1"])
    assert runs(plane, ids["us-east-1"])
    assert runs(plane, ids["ap-southeast-2"])
    for region in ("us-east-1", "ap-southeast-2"):
        plane.client("ec2", region).terminate_instances(InstanceIds=[ids[region]])
        gone(plane, ids[region])


@pytest.fixture
def other_account(shared_control_plane: ControlPlane) -> Any:
    """An EC2 client with the session keys of a role in another account."""
    plane = shared_control_plane
    trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole"}]}
    plane.client("iam").create_role(RoleName=f"other-{uuid.uuid4().hex}", AssumeRolePolicyDocument=json.dumps(trust))
    session = plane.client("sts").assume_role(RoleArn="arn:aws:iam::222233334444:role/other", RoleSessionName="test")[
        "Credentials"
    ]
    return boto3.client(
        "ec2",
        region_name="us-east-1",
        endpoint_url=plane.endpoint,
        aws_access_key_id=session["AccessKeyId"],
        aws_secret_access_key=session["SecretAccessKey"],
        aws_session_token=session["SessionToken"],
    )


def test_another_account(shared_control_plane: ControlPlane, shared_ec2: Any, other_account: Any) -> None:
    plane = shared_control_plane
    (own,) = launch(shared_ec2)
    (theirs,) = launch(other_account)
    mine, other = running(plane, own, theirs)
    assert mine["Config"]["Labels"][names.LABEL_ACCOUNT] == "123456789012"
    assert other["Config"]["Labels"][names.LABEL_ACCOUNT] == "222233334444"
    assert [i["InstanceId"] for i in instances(other_account)] == [theirs]
    assert theirs not in [i["InstanceId"] for i in instances(shared_ec2)]
    assert describe(other_account, theirs)["State"]["Name"] in ("pending", "running")
    with pytest.raises(shared_ec2.exceptions.ClientError, match=r"InvalidInstanceID\.NotFound"):
        shared_ec2.terminate_instances(InstanceIds=[theirs])
    assert runs(plane, theirs)
    other_account.terminate_instances(InstanceIds=[theirs])
    gone(plane, theirs)
    assert runs(plane, own)
    shared_ec2.terminate_instances(InstanceIds=[own])
    gone(plane, own)


def test_both_come_back_after_a_restart(
    shared_control_plane: ControlPlane, shared_ec2: Any, other_account: Any
) -> None:
    plane = shared_control_plane
    (own,) = launch(plane.client("ec2", "eu-west-1"))
    (theirs,) = launch(other_account)
    before = [container["State"]["StartedAt"] for container in running(plane, own, theirs)]
    plane.kill()
    plane.start()
    assert [i["InstanceId"] for i in instances(other_account)] == [theirs]
    assert [i["InstanceId"] for i in instances(plane.client("ec2", "eu-west-1"))] == [own]
    assert [container["State"]["StartedAt"] for container in running(plane, own, theirs)] == before
    other_account.terminate_instances(InstanceIds=[theirs])
    plane.client("ec2", "eu-west-1").terminate_instances(InstanceIds=[own])
    gone(plane, own, theirs)
