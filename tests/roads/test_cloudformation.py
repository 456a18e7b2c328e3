"""AWS::EC2::Instance in stacks: a stack tells the truth about its containers."""

from __future__ import annotations

import json
import uuid
from contextlib import suppress
from typing import Any

import docker.errors
import pytest
from botocore.exceptions import ClientError

from oblako_magic import names
from oblako_magic.engine import build
from tests.support.plane import ControlPlane, eventually
from tests.support.world import describe, gone, instances, running, runs, started_at, tags, until_user_data


class Stacks:
    """CloudFormation, for stacks of one instance called Web and what a test adds."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        self.client = plane.client("cloudformation")

    def template(self, properties: dict[str, Any], **resources: Any) -> str:
        web = {"Type": "AWS::EC2::Instance", "Properties": {"ImageId": build.TINY_IMAGE, **properties}}
        return json.dumps({"Resources": {"Web": web, **resources}, "Outputs": {"Id": {"Value": {"Ref": "Web"}}}})

    def create(self, properties: dict[str, Any] | None = None, **resources: Any) -> str:
        name = f"stack-{uuid.uuid4().hex[:8]}"
        self.client.create_stack(StackName=name, TemplateBody=self.template(properties or {}, **resources))
        return name

    def update(self, name: str, properties: dict[str, Any], **resources: Any) -> None:
        self.client.update_stack(StackName=name, TemplateBody=self.template(properties, **resources))

    def stack(self, name: str) -> dict[str, Any]:
        return dict(self.client.describe_stacks(StackName=name)["Stacks"][0])

    def until(self, name: str, status: str) -> dict[str, Any]:
        eventually(
            lambda: not self.stack(name)["StackStatus"].endswith("IN_PROGRESS"), what=f"the stack {name} has settled"
        )
        stack = self.stack(name)
        assert stack["StackStatus"] == status, stack
        return stack

    def web(self, name: str) -> str:
        found = self.client.describe_stack_resource(StackName=name, LogicalResourceId="Web")
        return str(found["StackResourceDetail"]["PhysicalResourceId"])

    def delete(self, name: str) -> None:
        self.client.delete_stack(StackName=name)


@pytest.fixture
def stacks(shared_control_plane: ControlPlane) -> Stacks:
    return Stacks(shared_control_plane)


def test_create_is_complete_when_it_runs_and_delete_really_terminates(stacks: Stacks) -> None:
    plane, ec2 = stacks.plane, stacks.plane.client()
    name = stacks.create({"InstanceType": "t3.nano", "Tags": [{"Key": "Name", "Value": "web"}]})
    # Whenever the status says complete, the container runs already: looked at in this order.
    eventually(lambda: stacks.stack(name)["StackStatus"] == "CREATE_COMPLETE", what="complete")
    instance_id = stacks.web(name)
    assert runs(plane, instance_id)
    assert stacks.stack(name)["Outputs"][0]["OutputValue"] == instance_id
    found = tags(describe(ec2, instance_id))
    assert found["Name"] == "web"
    assert found["aws:cloudformation:stack-name"] == name
    assert found["aws:cloudformation:logical-id"] == "Web"
    stacks.delete(name)
    gone(plane, instance_id)
    assert plane.state(instance_id) == "terminated"


def test_the_waiter_waits_for_the_container(stacks: Stacks) -> None:
    name = stacks.create()
    waiter = stacks.client.get_waiter("stack_create_complete")
    waiter.wait(StackName=name, WaiterConfig={"Delay": 1})
    instance_id = stacks.web(name)
    assert runs(stacks.plane, instance_id)
    stacks.delete(name)
    gone(stacks.plane, instance_id)


NO_IMAGE = "localhost:1/oblako/no-such-image:1"


def of_stack(stacks: Stacks, name: str) -> dict[str, str]:
    """Logical id to id of the stack's instances, the terminated ones too."""
    by = [{"Name": "tag:aws:cloudformation:stack-name", "Values": [name]}]
    found = stacks.plane.client().describe_instances(Filters=by)["Reservations"]
    made = [i for reservation in found for i in reservation["Instances"]]
    return {tags(i)["aws:cloudformation:logical-id"]: i["InstanceId"] for i in made}


def group_of(stacks: Stacks, name: str) -> list[str]:
    found = stacks.plane.client().describe_security_groups(Filters=[{"Name": "description", "Values": [name]}])
    return [one["GroupId"] for one in found["SecurityGroups"]]


def more_resources(note: str) -> dict[str, Any]:
    """A second instance, which runs, and a security group that is described by the note."""
    group = {"Type": "AWS::EC2::SecurityGroup", "Properties": {"GroupDescription": note}}
    return {"Other": {"Type": "AWS::EC2::Instance", "Properties": {"ImageId": build.TINY_IMAGE}}, "Group": group}


@pytest.mark.parametrize("how", [{}, {"OnFailure": "DO_NOTHING"}, {"DisableRollback": True}, {"OnFailure": "DELETE"}])
def test_an_image_that_can_not_be_had_fails_the_stack_with_the_reason(stacks: Stacks, how: dict[str, Any]) -> None:
    name = f"stack-{uuid.uuid4().hex[:8]}"
    kept = "DO_NOTHING" in how.values() or "DisableRollback" in how
    body = stacks.template({"ImageId": NO_IMAGE}, **more_resources(name))
    stack_id = stacks.client.create_stack(StackName=name, TemplateBody=body, **how)["StackId"]
    ended = "CREATE_FAILED" if kept else "DELETE_COMPLETE" if "DELETE" in how.values() else "ROLLBACK_COMPLETE"
    stack = stacks.until(stack_id, ended)
    assert NO_IMAGE in stack["StackStatusReason"]
    assert "failed to create: [Web]" in stack["StackStatusReason"]
    events = stacks.client.describe_stack_events(StackName=stack_id)["StackEvents"]
    (failed,) = [one for one in events if (one["LogicalResourceId"], one["ResourceStatus"]) == ("Web", "CREATE_FAILED")]
    assert NO_IMAGE in failed["ResourceStatusReason"]
    assert failed["ResourceType"] == "AWS::EC2::Instance"
    made = of_stack(stacks, name)
    gone(stacks.plane, made["Web"])
    if kept:
        running(stacks.plane, made["Other"])
        assert len(group_of(stacks, name)) == 1
    else:
        gone(stacks.plane, made["Other"])
        assert stacks.plane.state(made["Other"]) == "terminated"
    if ended != "DELETE_COMPLETE":
        stacks.delete(name)
    gone(stacks.plane, *made.values())
    assert group_of(stacks, name) == []
    assert of_stack(stacks, name) == made, "nothing was made anew by looking"
    with pytest.raises(ClientError, match="does not exist"):
        stacks.stack(name)


@pytest.mark.parametrize("by", ["request", "change set"])
def test_a_resource_that_is_refused_fails_the_stack(stacks: Stacks, by: str) -> None:
    name = f"stack-{uuid.uuid4().hex[:8]}"
    web = {"KeyName": "nobody-made-it"}
    body = stacks.template(web, **more_resources(name))
    # Web is the first in the template: by its dependency it is made last.
    document = json.loads(body)
    document["Resources"]["Web"]["DependsOn"] = ["Other", "Group"]
    body = json.dumps({**document, "Resources": dict(reversed(document["Resources"].items()))})
    if by == "request":
        stacks.client.create_stack(StackName=name, TemplateBody=body)
    else:
        made = stacks.client.create_change_set(
            StackName=name, TemplateBody=body, ChangeSetName="new", ChangeSetType="CREATE"
        )
        stacks.client.execute_change_set(ChangeSetName=made["Id"])
    stack = stacks.until(name, "ROLLBACK_COMPLETE")
    assert "The key pair 'nobody-made-it' does not exist" in stack["StackStatusReason"]
    gone(stacks.plane, *of_stack(stacks, name).values())
    assert group_of(stacks, name) == []
    assert stacks.client.list_stack_resources(StackName=name)["StackResourceSummaries"] == []
    stacks.delete(name)


def test_a_template_that_makes_no_sense_is_refused(stacks: Stacks) -> None:
    name = f"stack-{uuid.uuid4().hex[:8]}"
    body = json.dumps(
        {
            "Resources": {"Web": {"Type": "AWS::EC2::Instance", "Properties": {"ImageId": build.TINY_IMAGE}}},
            "Outputs": {"Odd": {"Value": {"Fn::GetAtt": ["Web", "NoSuchThing"]}}},
        }
    )
    with pytest.raises(ClientError, match="NoSuchThing"):
        stacks.client.create_stack(StackName=name, TemplateBody=body)
    with pytest.raises(ClientError, match="not both"):
        stacks.client.create_stack(
            StackName=name, TemplateBody=stacks.template({}), OnFailure="DELETE", DisableRollback=False
        )
    with pytest.raises(ClientError, match="does not exist"):
        stacks.stack(name)
    assert of_stack(stacks, name) == {}


@pytest.mark.parametrize("call", ["create_stack", "create_change_set"])
@pytest.mark.parametrize(
    ("name", "resources", "parameters", "message"),
    [
        ("bad_name!", 1, [], "at 'stackName' failed to satisfy constraint"),
        ("empty", 0, [], "At least one Resources member must be defined"),
        ("parameters", 1, ["Typo", "Other"], r"Parameters: \[Typo, Other\] do not exist in the template"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(
    stacks: Stacks, call: str, name: str, resources: int, parameters: list[str], message: str
) -> None:
    group = {"Type": "AWS::EC2::SecurityGroup", "Properties": {"GroupDescription": "x"}}
    body = json.dumps({"Resources": {"Group": group} if resources else {}})
    given = [{"ParameterKey": key, "ParameterValue": "x"} for key in parameters]
    more = {"ChangeSetName": "first"} if call == "create_change_set" else {}
    with pytest.raises(ClientError, match=message) as caught:
        getattr(stacks.client, call)(StackName=name, TemplateBody=body, Parameters=given, **more)
    assert caught.value.response["Error"]["Code"] == "ValidationError"
    assert name not in [one["StackName"] for one in stacks.client.list_stacks()["StackSummaries"]]


def test_update_in_place_keeps_the_container(stacks: Stacks) -> None:
    plane, ec2 = stacks.plane, stacks.plane.client()
    name = stacks.create({"InstanceType": "t3.nano", "Tags": [{"Key": "Role", "Value": "old"}]})
    stacks.until(name, "CREATE_COMPLETE")
    instance_id = stacks.web(name)
    container = plane.container(instance_id)
    assert container is not None
    plane.execute(instance_id, "sh", "-c", "echo here > /kept")

    stacks.update(name, {"InstanceType": "t3.nano", "Tags": [{"Key": "Role", "Value": "new"}]})
    stacks.until(name, "UPDATE_COMPLETE")
    assert stacks.web(name) == instance_id
    found = tags(describe(ec2, instance_id))
    assert found["Role"] == "new"
    assert found["aws:cloudformation:logical-id"] == "Web"
    assert started_at(plane, instance_id) == container["State"]["StartedAt"]

    # Another type: "some interruptions", stop and start of the same instance.
    stacks.update(name, {"InstanceType": "t3.micro", "Tags": [{"Key": "Other", "Value": "new"}]})
    assert stacks.web(name) == instance_id
    eventually(
        lambda: runs(plane, instance_id) and started_at(plane, instance_id) != container["State"]["StartedAt"],
        what="restarted",
    )
    assert plane.execute(instance_id, "cat", "/kept") == (0, "here\n")
    described = describe(ec2, instance_id)
    assert described["InstanceType"] == "t3.micro"
    after = plane.container(instance_id)
    assert after is not None
    assert container["HostConfig"]["Memory"] == 512 << 20
    assert after["HostConfig"]["Memory"] == 1024 << 20, "the new type's memory"
    assert "Role" not in tags(described)
    stacks.delete(name)
    gone(plane, instance_id)


@pytest.mark.parametrize("change", ["ImageId", "SubnetId"])
def test_update_with_replacement(stacks: Stacks, change: str) -> None:
    plane, ec2 = stacks.plane, stacks.plane.client()
    default = ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"]
    name = stacks.create({"Tags": [{"Key": "Name", "Value": "replaced"}]})
    stacks.until(name, "CREATE_COMPLETE")
    old = stacks.web(name)
    subnet = next(s["SubnetId"] for s in default if s["SubnetId"] != describe(ec2, old)["SubnetId"])
    # The AMI of moto's that OBLAKO_EC2_IMAGE backs here; another AMI id is a replacement whatever the image.
    new_value = "ami-12c6146b" if change == "ImageId" else subnet
    stacks.update(name, {change: new_value, "Tags": [{"Key": "Name", "Value": "replaced"}]})
    # The new container first: as long as the update lasts, the old one is there.
    while stacks.stack(name)["StackStatus"] == "UPDATE_IN_PROGRESS":
        assert runs(plane, old) or runs(plane, stacks.web(name))
    assert runs(plane, stacks.web(name))
    stacks.until(name, "UPDATE_COMPLETE")
    new = stacks.web(name)
    assert new != old
    gone(plane, old)
    described = describe(ec2, new)
    assert described[change] == new_value
    found = tags(described)
    assert (found["Name"], found["aws:cloudformation:stack-name"]) == ("replaced", name)
    assert found["aws:cloudformation:logical-id"] == "Web"
    assert stacks.stack(name)["Outputs"][0]["OutputValue"] == new
    stacks.delete(name)
    gone(plane, new)


def test_a_replacement_that_can_not_be_had_leaves_the_old_one(stacks: Stacks) -> None:
    plane, image = stacks.plane, "localhost:1/oblako/no-such-image:1"
    name = stacks.create()
    stacks.until(name, "CREATE_COMPLETE")
    old = stacks.web(name)
    plane.execute(old, "sh", "-c", "echo precious > /ebs/data")
    stacks.update(name, {"ImageId": image})
    stack = stacks.until(name, "UPDATE_ROLLBACK_COMPLETE")
    assert image in stack["StackStatusReason"]
    assert stack["Outputs"][0]["OutputValue"] == stacks.web(name) == old
    assert plane.execute(old, "cat", "/ebs/data") == (0, "precious\n")
    assert [i["InstanceId"] for i in instances(plane.client(), **{"tag:aws:cloudformation:stack-name": name})] == [old]
    assert image not in json.dumps(stacks.client.get_template(StackName=name)["TemplateBody"])
    # The next update goes on from there.
    stacks.update(name, {"Tags": [{"Key": "Name", "Value": "still"}]})
    stacks.until(name, "UPDATE_COMPLETE")
    assert tags(describe(plane.client(), old))["Name"] == "still"
    stacks.delete(name)
    gone(plane, old)


def test_an_update_that_fails_is_taken_back_as_a_whole(stacks: Stacks) -> None:
    """One is replaced, one changed, one left out, one added; another one that is added can't be had."""
    plane, ec2 = stacks.plane, stacks.plane.client()
    small = {"ImageId": build.TINY_IMAGE, "InstanceType": "t3.nano"}
    box = {"Type": "AWS::EC2::Instance", "Properties": small}
    group = {"Type": "AWS::EC2::SecurityGroup", "Properties": {"GroupDescription": "of the one that is left out"}}
    left_out = {**box, "Properties": {**small, "SecurityGroupIds": [{"Ref": "Group"}]}}
    name = stacks.create({}, Changed=box, LeftOut=left_out, Group=group)
    stacks.until(name, "CREATE_COMPLETE")
    before, groups = of_stack(stacks, name), group_of(stacks, name)
    started = {one: started_at(plane, one) for one in before.values()}
    for one in before.values():
        plane.execute(one, "sh", "-c", f"echo {one} > /ebs/data")
    other = {**box, "Properties": {**small, "InstanceType": "t3.micro"}}
    never = {**box, "Properties": {"ImageId": "localhost:1/oblako/no-such-image:1"}}
    stacks.update(name, {"ImageId": "ami-12c6146b"}, Changed=other, Added=box, Never=never)
    stack = stacks.until(name, "UPDATE_ROLLBACK_COMPLETE")
    assert "failed to update: [Never]" in stack["StackStatusReason"]
    events = [one["ResourceStatus"] for one in stacks.client.describe_stack_events(StackName=name)["StackEvents"]]
    assert events[:3] == ["UPDATE_ROLLBACK_COMPLETE", "UPDATE_ROLLBACK_IN_PROGRESS", "UPDATE_FAILED"]
    resources = stacks.client.list_stack_resources(StackName=name)["StackResourceSummaries"]
    assert {one["LogicalResourceId"] for one in resources} == {"Web", "Changed", "LeftOut", "Group"}
    assert group_of(stacks, name) == groups

    def living() -> dict[str, str]:
        found = instances(ec2, **{"tag:aws:cloudformation:stack-name": name})
        return {tags(i)["aws:cloudformation:logical-id"]: i["InstanceId"] for i in found}

    eventually(lambda: living() == before, what="only those of before are there")
    running(plane, *before.values())

    def has_its_data(instance_id: str) -> bool:
        with suppress(docker.errors.APIError):  # the one that is changed back starts again
            return plane.execute(instance_id, "cat", "/ebs/data") == (0, f"{instance_id}\n")
        return False

    for logical_id, one in before.items():
        eventually(lambda one=one: has_its_data(one))  # type: ignore[misc]
        assert describe(ec2, one)["InstanceType"] == ("m1.small" if logical_id == "Web" else "t3.nano")
        assert (started_at(plane, one) == started[one]) == (logical_id != "Changed")
    stacks.delete(name)
    gone(plane, *before.values())


def test_an_update_with_a_resource_that_is_refused_is_taken_back(stacks: Stacks) -> None:
    plane = stacks.plane
    parameters = {"Type": {"Type": "String", "Default": "t3.nano"}}
    web = {"InstanceType": {"Ref": "Type"}}
    name = f"stack-{uuid.uuid4().hex[:8]}"
    template = {**json.loads(stacks.template(web)), "Parameters": parameters}
    stacks.client.create_stack(StackName=name, TemplateBody=json.dumps(template))
    stacks.until(name, "CREATE_COMPLETE")
    [instance_id] = of_stack(stacks, name).values()
    more = {"Type": "AWS::EC2::Instance", "Properties": {"ImageId": build.TINY_IMAGE, "KeyName": "nobody-made-it"}}
    other = {**template, "Resources": {**template["Resources"], "More": more}}
    given = [{"ParameterKey": "Type", "ParameterValue": "t3.micro"}]
    stacks.client.update_stack(StackName=name, TemplateBody=json.dumps(other), Parameters=given)
    stack = stacks.until(name, "UPDATE_ROLLBACK_COMPLETE")
    assert "The key pair 'nobody-made-it' does not exist" in stack["StackStatusReason"]
    assert stack["Parameters"] == [{"ParameterKey": "Type", "ParameterValue": "t3.nano"}]
    assert describe(plane.client(), instance_id)["InstanceType"] == "t3.nano"
    # Only by its parameter.
    stacks.client.update_stack(StackName=name, UsePreviousTemplate=True, Parameters=given)
    stacks.until(name, "UPDATE_COMPLETE")
    assert describe(plane.client(), instance_id)["InstanceType"] == "t3.micro"
    events = stacks.client.describe_stack_events(StackName=name)["StackEvents"]
    broken = {**template, "Resources": {"Web": more}, "Parameters": {**parameters, "More": {"Type": "String"}}}
    with pytest.raises(ClientError, match="More"):
        stacks.client.update_stack(StackName=name, TemplateBody=json.dumps(broken), Parameters=given)
    assert stacks.stack(name)["StackStatus"] == "UPDATE_COMPLETE"
    assert stacks.stack(name)["Parameters"] == given
    assert stacks.client.describe_stack_events(StackName=name)["StackEvents"] == events
    running(plane, instance_id)
    stacks.delete(name)
    gone(plane, instance_id)


def test_a_stack_that_is_being_updated_takes_no_other_update(stacks: Stacks) -> None:
    name = stacks.create()
    stacks.until(name, "CREATE_COMPLETE")
    old = stacks.web(name)
    stacks.update(name, {"ImageId": "ami-12c6146b"})
    with pytest.raises(ClientError, match="is in UPDATE_IN_PROGRESS state and can not be updated") as caught:
        stacks.update(name, {"InstanceType": "t3.micro"})
    assert caught.value.response["Error"]["Code"] == "ValidationError"
    stacks.until(name, "UPDATE_COMPLETE")
    new = stacks.web(name)
    assert describe(stacks.plane.client(), new)["InstanceType"] == "m1.small"
    stacks.delete(name)
    gone(stacks.plane, old, new)


def test_deleted_in_the_middle_of_a_replacement(stacks: Stacks) -> None:
    plane = stacks.plane
    name = stacks.create()
    stacks.until(name, "CREATE_COMPLETE")
    old = stacks.web(name)
    stacks.update(name, {"ImageId": "ami-12c6146b"})
    new = stacks.web(name)
    stacks.delete(name)
    gone(plane, old, new)


def test_a_stack_outlives_the_control_plane(stacks: Stacks) -> None:
    """Stack and instance are one and the same after a restart, also in the middle of a replacement."""
    plane = stacks.plane
    name = stacks.create()
    stacks.until(name, "CREATE_COMPLETE")
    old = stacks.web(name)
    stacks.update(name, {"ImageId": "ami-12c6146b"})
    plane.kill()
    plane.start()
    stacks.until(name, "UPDATE_COMPLETE")
    new = stacks.web(name)
    assert runs(plane, new)
    gone(plane, old)
    plane.kill()
    plane.start()
    stacks.delete(name)
    gone(plane, new)


def test_change_sets(stacks: Stacks) -> None:
    """What ``aws cloudformation deploy`` and its kin do."""
    plane, client = stacks.plane, stacks.client
    name = f"stack-{uuid.uuid4().hex[:8]}"

    def execute(kind: str, properties: dict[str, Any]) -> None:
        change = f"change-{uuid.uuid4().hex[:8]}"
        body = stacks.template(properties)
        client.create_change_set(StackName=name, ChangeSetName=change, ChangeSetType=kind, TemplateBody=body)
        client.execute_change_set(StackName=name, ChangeSetName=change)

    execute("CREATE", {})
    stacks.until(name, "CREATE_COMPLETE")
    first = stacks.web(name)
    assert runs(plane, first)
    assert tags(describe(plane.client(), first))["aws:cloudformation:stack-name"] == name
    execute("UPDATE", {"ImageId": "ami-12c6146b"})
    stacks.until(name, "UPDATE_COMPLETE")
    second = stacks.web(name)
    assert runs(plane, second)
    gone(plane, first)
    execute("UPDATE", {"ImageId": "localhost:1/oblako/no-such-image:1"})
    stacks.until(name, "UPDATE_ROLLBACK_COMPLETE")
    assert stacks.web(name) == second
    assert runs(plane, second)
    stacks.delete(name)
    gone(plane, second)


def test_a_stack_takes_only_its_own_instances_along(stacks: Stacks) -> None:
    """Both stacks, and one whose name begins like another's, have a resource Web."""
    plane, ec2 = stacks.plane, stacks.plane.client()
    first = stacks.create()
    second = stacks.create()
    longer = f"{first}-Web"
    stacks.client.create_stack(StackName=longer, TemplateBody=stacks.template({}))
    ids = {name: stacks.web(name) for name in (first, second, longer)}
    for name in ids:
        stacks.until(name, "CREATE_COMPLETE")
    bystander = ec2.run_instances(
        ImageId=build.TINY_IMAGE,
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "Web"}]}],
    )["Instances"][0]["InstanceId"]
    running(plane, bystander)
    stacks.delete(first)
    gone(plane, ids[first])
    assert all(runs(plane, instance_id) for instance_id in (ids[second], ids[longer], bystander))
    stacks.delete(longer)
    stacks.delete(second)
    gone(plane, ids[second], ids[longer])
    assert runs(plane, bystander)
    ec2.terminate_instances(InstanceIds=[bystander])
    gone(plane, bystander)


def test_a_resource_left_out_of_an_update_is_terminated(stacks: Stacks) -> None:
    plane = stacks.plane
    second = {"Type": "AWS::EC2::Instance", "Properties": {"ImageId": build.TINY_IMAGE}}
    name = stacks.create({}, Worker=second)
    stacks.until(name, "CREATE_COMPLETE")
    worker = stacks.client.describe_stack_resource(StackName=name, LogicalResourceId="Worker")
    worker_id = worker["StackResourceDetail"]["PhysicalResourceId"]
    web = stacks.web(name)
    running(plane, web, worker_id)
    stacks.update(name, {})
    gone(plane, worker_id)
    assert runs(plane, web)
    # And one that is added by an update is launched.
    stacks.update(name, {}, Added=second)
    added = stacks.client.describe_stack_resource(StackName=name, LogicalResourceId="Added")
    added_id = added["StackResourceDetail"]["PhysicalResourceId"]
    running(plane, added_id)
    assert tags(describe(plane.client(), added_id))["aws:cloudformation:logical-id"] == "Added"
    stacks.until(name, "UPDATE_COMPLETE")
    # And one that was left out once comes anew.
    stacks.update(name, {}, Added=second, Worker=second)
    stacks.until(name, "UPDATE_COMPLETE")
    again = of_stack(stacks, name)["Worker"]
    assert again != worker_id
    assert runs(plane, again)
    stacks.delete(name)
    gone(plane, web, added_id, again)


def test_user_data_by_base64_runs(stacks: Stacks) -> None:
    script = {"Fn::Base64": {"Fn::Sub": "#!/bin/sh\necho from ${AWS::StackName} > /ran\n"}}
    name = stacks.create({"UserData": script})
    instance_id = stacks.web(name)
    assert until_user_data(stacks.plane, instance_id) == f"from {name}\n"
    stacks.delete(name)
    gone(stacks.plane, instance_id)


def test_security_groups_of_the_stack(stacks: Stacks) -> None:
    ec2 = stacks.plane.client()
    group = {
        "Type": "AWS::EC2::SecurityGroup",
        "Properties": {
            "GroupDescription": "web",
            "SecurityGroupIngress": [{"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "CidrIp": "0.0.0.0/0"}],
        },
    }
    by_id = {"SecurityGroupIds": [{"Fn::GetAtt": ["Group", "GroupId"]}]}
    name = stacks.create(by_id, Group=group)
    instance_id = stacks.web(name)
    running(stacks.plane, instance_id)
    group_id = stacks.client.describe_stack_resource(StackName=name, LogicalResourceId="Group")
    wanted = group_id["StackResourceDetail"]["PhysicalResourceId"]
    found = describe(ec2, instance_id)["SecurityGroups"]
    assert wanted in {found[0]["GroupId"], found[0]["GroupName"]}
    assert len(found) == 1
    stacks.until(name, "CREATE_COMPLETE")
    stacks.delete(name)
    gone(stacks.plane, instance_id)
    left = [g["GroupId"] for g in ec2.describe_security_groups()["SecurityGroups"]]
    assert found[0]["GroupId"] not in left


def test_launch_template_of_the_stack(stacks: Stacks) -> None:
    data = {
        "ImageId": build.TINY_IMAGE,
        "InstanceType": "t3.small",
        "UserData": {"Fn::Base64": "#!/bin/sh\necho by template > /ran\n"},
        "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "by-template"}]}],
    }
    template = {"Type": "AWS::EC2::LaunchTemplate", "Properties": {"LaunchTemplateData": data}}
    latest = {"Fn::GetAtt": ["Template", "LatestVersionNumber"]}
    web = {
        "Type": "AWS::EC2::Instance",
        "Properties": {"LaunchTemplate": {"LaunchTemplateId": {"Ref": "Template"}, "Version": latest}},
    }
    name = f"stack-{uuid.uuid4().hex[:8]}"
    body = json.dumps({"Resources": {"Template": template, "Web": web}})
    stacks.client.create_stack(StackName=name, TemplateBody=body)
    instance_id = stacks.web(name)
    assert until_user_data(stacks.plane, instance_id) == "by template\n"
    described = describe(stacks.plane.client(), instance_id)
    assert described["InstanceType"] == "t3.small"
    assert tags(described)["Name"] == "by-template"
    container = stacks.plane.container(instance_id)
    assert container is not None
    assert container["Config"]["Image"] == build.TINY_IMAGE
    stacks.delete(name)
    gone(stacks.plane, instance_id)


def test_block_devices_with_cloudformations_strings(stacks: Stacks) -> None:
    ec2 = stacks.plane.client()
    mappings = [
        {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": "16", "DeleteOnTermination": "false"}},
        {"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"},
    ]
    name = stacks.create({"BlockDeviceMappings": mappings})
    instance_id = stacks.web(name)
    running(stacks.plane, instance_id)
    (device,) = describe(ec2, instance_id)["BlockDeviceMappings"]
    assert device["Ebs"]["DeleteOnTermination"] is False
    volume_id = device["Ebs"]["VolumeId"]
    assert ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]["Size"] == 16
    stacks.delete(name)
    eventually(lambda: stacks.plane.container(instance_id) is None, what="the container is gone")
    eventually(lambda: stacks.plane.state(instance_id) == "terminated", what="terminated")
    volume = names.root_volume_name(instance_id)
    assert volume in stacks.plane.volumes()
    ec2.delete_volume(VolumeId=volume_id)
    eventually(lambda: volume not in stacks.plane.volumes(), what="the volume is gone")


def test_termination_protection_fails_the_delete(stacks: Stacks) -> None:
    """The instance may not be terminated, so that the stack stays (CloudFormation user guide, DELETE_FAILED)."""
    plane, ec2 = stacks.plane, stacks.plane.client()
    name = stacks.create({"DisableApiTermination": True})
    stacks.until(name, "CREATE_COMPLETE")
    instance_id = stacks.web(name)
    stacks.delete(name)
    stack = stacks.until(name, "DELETE_FAILED")
    assert instance_id in stack["StackStatusReason"]
    assert "disableApiTermination" in stack["StackStatusReason"]
    assert runs(plane, instance_id)
    assert plane.state(instance_id) == "running"
    ec2.modify_instance_attribute(InstanceId=instance_id, DisableApiTermination={"Value": False})
    stacks.delete(name)
    gone(plane, instance_id)
    with pytest.raises(ClientError, match="does not exist"):
        stacks.stack(name)


def test_a_group_in_a_stack_launches_and_goes(stacks: Stacks) -> None:
    plane, ec2 = stacks.plane, stacks.plane.client()
    resources = {
        "Config": {
            "Type": "AWS::AutoScaling::LaunchConfiguration",
            "Properties": {"ImageId": build.TINY_IMAGE, "InstanceType": "t3.nano"},
        },
        "Group": {
            "Type": "AWS::AutoScaling::AutoScalingGroup",
            "Properties": {
                "LaunchConfigurationName": {"Ref": "Config"},
                "AvailabilityZones": ["us-east-1a"],
                "MinSize": "1",
                "MaxSize": "3",
                "DesiredCapacity": "2",
                "Tags": [{"Key": "Case", "Value": "stacked", "PropagateAtLaunch": True}],
            },
        },
    }
    name = f"stack-{uuid.uuid4().hex[:8]}"
    stacks.client.create_stack(StackName=name, TemplateBody=json.dumps({"Resources": resources}))
    members = [instance["InstanceId"] for instance in instances(ec2, tag__Case="stacked")]
    assert len(members) == 2
    running(plane, *members)
    stacks.delete(name)
    gone(plane, *members)
