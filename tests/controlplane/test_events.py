"""The log of events: whatever changes an instance, the log says what and who."""

from __future__ import annotations

import json
import threading
import time
import uuid
from typing import Any

import boto3
import pytest
from botocore.config import Config

from oblako_magic import Ec2, names
from oblako_magic.controlplane import events
from oblako_magic.engine import build
from tests.controlplane.planes import AMI, Plane
from tests.support.plane import eventually


def told(plane: Plane, thing: str) -> list[tuple[str, str]]:
    """What the log has of a thing: (what, who)."""
    rows = plane.api("GET", "/events")["events"]
    return [(row["what"], row["who"]) for row in rows if row["id"] == thing]


def whats(plane: Plane, thing: str) -> list[str]:
    return [what for what, _ in told(plane, thing)]


def client(plane: Plane, agent: str, service: str = "ec2") -> Any:
    """A client that calls itself so."""
    return boto3.client(
        service,
        region_name="us-east-1",
        endpoint_url=plane.endpoint,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(user_agent=agent, retries={"max_attempts": 1}),
    )


def test_the_life_of_an_instance_and_who_did_it(plane: Plane) -> None:
    instance_id = plane.run(
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "life"}]}]
    )
    terraform = client(plane, "APN/1.0 HashiCorp/1.0 Terraform/1.9.0 aws-sdk-go-v2/1.30")
    terraform.create_tags(Resources=[instance_id], Tags=[{"Key": "Env", "Value": "dev"}])
    terraform.delete_tags(Resources=[instance_id], Tags=[{"Key": "Env"}])
    client(plane, "aws-cli/1.40.0 Python/3.11 botocore/1.40").stop_instances(InstanceIds=[instance_id])
    plane.until(instance_id, "stopped")
    plane.client().modify_instance_attribute(InstanceId=instance_id, InstanceType={"Value": "t3.large"})
    plane.client().terminate_instances(InstanceIds=[instance_id])
    plane.until(instance_id, "terminated")
    old = plane.describe(instance_id)["ImageId"]
    assert told(plane, instance_id) == [
        (f"launched (m1.small, {old})", "boto3"),
        ("pending -> running", "boto3"),
        ("tag Env=dev", "Terraform"),
        ("tag Env removed", "Terraform"),
        ("running -> stopping", "aws-cli"),
        ("stopping -> stopped", "aws-cli"),
        ("instance type m1.small -> t3.large", "boto3"),
        ("stopped -> shutting-down", "boto3"),
        ("shutting-down -> terminated", "boto3"),
    ]
    row = next(row for row in plane.api("GET", "/events")["events"] if row["id"] == instance_id)
    assert (row["name"], row["region"], row["kind"]) == ("life", "us-east-1", "instance")
    assert row["account"].isdigit()
    assert abs(row["time"] - time.time()) < 120


def test_what_happens_on_the_instance_and_in_the_engine(plane: Plane) -> None:
    by_itself = plane.run()
    plane.engine.api.kill(names.container_name(by_itself), signal="SIGTERM")
    plane.until(by_itself, "stopped")
    assert told(plane, by_itself)[-1][1] == events.ITSELF
    assert "Instance initiated shutdown" in " ".join(whats(plane, by_itself))
    by_hand = plane.run()
    plane.engine.api.remove_container(names.container_name(by_hand), force=True)
    eventually(lambda: told(plane, by_hand)[-1][1] == events.ENGINE, what="the removal is told")
    assert told(plane, by_hand)[-1][0].startswith("its container was removed by hand")
    for one in (by_itself, by_hand):
        plane.client().terminate_instances(InstanceIds=[one])


def test_a_launch_that_fails_says_why(plane: Plane) -> None:
    (instance_id,) = plane.launch(ImageId="no-such-image.invalid/none:1")
    plane.until(instance_id, "terminated", 60)
    what, who = next(found for found in told(plane, instance_id) if found[0].startswith("pending -> "))
    assert "no-such-image.invalid/none:1" in what
    assert who == events.ENGINE


def test_an_auto_scaling_group_acts_for_its_caller(plane: Plane) -> None:
    name, scaling = f"g-{uuid.uuid4().hex[:8]}", client(plane, "aws-cli/1.40.0", "autoscaling")
    scaling.create_launch_configuration(LaunchConfigurationName=name, ImageId=build.TINY_IMAGE, InstanceType="t3.nano")
    scaling.create_auto_scaling_group(
        AutoScalingGroupName=name, LaunchConfigurationName=name, MinSize=0, MaxSize=2, DesiredCapacity=1,
        AvailabilityZones=["us-east-1a"],
    )  # fmt: skip
    (member,) = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"][0]["Instances"]
    first = member["InstanceId"]
    plane.until(first, "running")
    # A member that somebody terminates is replaced, and that is the group's doing.
    plane.client().terminate_instances(InstanceIds=[first])
    (member,) = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"][0]["Instances"]
    second = member["InstanceId"]
    plane.until(second, "running")
    assert told(plane, first)[0][1] == f"Auto Scaling group {name} (aws-cli)"
    assert ("running -> shutting-down", "boto3") in told(plane, first)
    assert told(plane, second)[0][1] == f"Auto Scaling group {name} (boto3)"
    scaling.delete_auto_scaling_group(AutoScalingGroupName=name, ForceDelete=True)
    plane.until(second, "terminated")
    assert told(plane, second)[-1] == ("shutting-down -> terminated", f"Auto Scaling group {name} (aws-cli)")


def test_a_stack_acts_for_its_caller(plane: Plane) -> None:
    name = f"s-{uuid.uuid4().hex[:8]}"
    box = {"Type": "AWS::EC2::Instance", "Properties": {"ImageId": AMI, "InstanceType": "t3.nano"}}
    stacks = client(plane, "aws-cli/1.40.0", "cloudformation")
    stacks.create_stack(StackName=name, TemplateBody=json.dumps({"Resources": {"Box": box}}))
    (resource,) = stacks.describe_stack_resources(StackName=name)["StackResources"]
    instance_id = resource["PhysicalResourceId"]
    plane.until(instance_id, "running")
    stacks.delete_stack(StackName=name)
    plane.until(instance_id, "terminated")
    assert {who for _, who in told(plane, instance_id)} == {f"CloudFormation stack {name} (aws-cli)"}
    assert whats(plane, name) == ["CreateStack", "DeleteStack"]


def test_other_things_are_told_by_their_call(plane: Plane) -> None:
    group = plane.client().create_security_group(GroupName=f"g-{uuid.uuid4().hex[:8]}", Description="d")["GroupId"]
    plane.client().delete_security_group(GroupId=group)
    assert told(plane, group) == [("CreateSecurityGroup", "boto3"), ("DeleteSecurityGroup", "boto3")]
    with pytest.raises(Exception, match="InvalidGroup"):
        plane.client().delete_security_group(GroupId=group)
    assert len(told(plane, group)) == 2, "what was refused has changed nothing"
    queue = f"q-{uuid.uuid4().hex[:8]}"
    plane.client("sqs").create_queue(QueueName=queue)
    assert told(plane, queue) == [], "other services would fill the log"


def test_a_caller_waits_for_the_next_event(plane: Plane) -> None:
    cloud = Ec2(plane.settings)
    before = cloud.events()
    assert cloud.events(since=before.last, log=before.log, timeout=0.2) == []
    got: list[Any] = []
    waiter = threading.Thread(target=lambda: got.append(cloud.events(since=before.last, log=before.log, timeout=30)))
    waiter.start()
    (instance,) = cloud.run(name="awaited")
    waiter.join(30)
    assert got[0][0].what.startswith("launched (t3.micro")
    assert got[0][0].who.startswith("oblako_magic in Python process ")
    instance.terminate()
    following = cloud.events(since=before.last, log=before.log, follow=True)
    assert [next(following).what.split(" (")[0] for _ in range(4)] == [
        "launched",
        "pending -> running",
        "running -> shutting-down",
        "shutting-down -> terminated",
    ]
    assert len(cloud.events(since=10**9, log="another run")) == len(cloud.events()), "all of another run is new"


def test_the_log_is_bounded_and_says_what_it_has_no_more() -> None:
    journal = events.Journal(kept=3)
    for number in range(5):
        journal.note("instance", f"n{number}", "me")
    answer = journal.since(0)
    assert [event["what"] for event in answer["events"]] == ["n2", "n3", "n4"]
    assert answer["missed"] is True
    assert journal.since(3)["missed"] is False
    journal.close()
    assert journal.since(5, timeout=30)["events"] == []


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        ("Boto3/1.44 Botocore/1.44 oblako-magic/0.1 kernel/77", "%ec2 in notebook kernel 77"),
        ("Boto3/1.44 Botocore/1.44 oblako-magic/0.1 terminal/78", "oblako in a terminal"),
        ("Boto3/1.44 Botocore/1.44 exec-env/x Ansible/2.17", "Ansible"),
        ("<script>alert(1)</script>", "a client without a name"),
        ("aws-sdk-rust/1.3.1 os/linux", "aws-sdk-rust"),
        ("x" * 5000, "x" * 40),
        ("", "a client without a name"),
    ],
)
def test_a_user_agent_in_few_words(agent: str, name: str) -> None:
    assert events.tool(agent) == name


def test_no_secret_gets_into_the_log() -> None:
    body = b"Action=CreateLoginProfile&Password=hunter2&UserName=ann&ClientToken=tok"
    assert events.subject("CreateLoginProfile", body, b"") == "ann"
    assert events.subject("CreateStack", b'{"ClientRequestToken": "t", "StackName": "web"}', b"") == "web"
