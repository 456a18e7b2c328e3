"""What was acknowledged is there after any end of the control plane, and instances run on through it."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import botocore.exceptions
import pytest

from oblako_magic import names
from oblako_magic.engine import Engine, build
from tests.controlplane.planes import AMI, Plane
from tests.support.plane import eventually

_ROLE = json.dumps({"Version": "2012-10-17", "Statement": []})
_TEMPLATE = json.dumps(
    {"Resources": {"Group": {"Type": "AWS::EC2::SecurityGroup", "Properties": {"GroupDescription": "x"}}}}
)
_LAUNCH = {"ImageId": AMI, "InstanceType": "t3.micro"}


@pytest.fixture(scope="module")
def own(engine_backend: Engine, new_plane: Callable[..., Any]) -> Iterator[Plane]:
    """A control plane that this module's tests end in every way there is."""
    with new_plane(engine_backend, OBLAKO_ALLOW_RESET="on") as plane:
        yield plane


class Writer:
    """Writes one kind of thing again and again and keeps what was acknowledged."""

    def __init__(self, name: str, write: Callable[[int], str], there: Callable[[str], Any]) -> None:
        self.name, self._write, self.there = name, write, there
        self.acknowledged: list[str] = []

    def go(self, end: threading.Event) -> None:
        for number in itertools.count():
            if end.is_set():
                return
            try:
                self.acknowledged.append(self._write(number))
            except (botocore.exceptions.HTTPClientError, botocore.exceptions.ConnectionError):
                return  # the control plane is gone: this one was not acknowledged

    def lost(self) -> list[str]:
        def missing(thing: str) -> bool:
            try:
                return not self.there(thing)
            except botocore.exceptions.ClientError:
                return True

        return [thing for thing in self.acknowledged if missing(thing)]


def writers(plane: Plane) -> list[Writer]:
    """One of each kind of thing that the promise is about."""
    ec2, iam, ssm = plane.client(), plane.client("iam"), plane.client("ssm")
    cloudformation, autoscaling, sagemaker = (plane.client(n) for n in ("cloudformation", "autoscaling", "sagemaker"))
    tagged = ec2.create_vpc(CidrBlock="10.250.0.0/16")["Vpc"]["VpcId"]
    ec2.create_launch_template(LaunchTemplateName="base", LaunchTemplateData=_LAUNCH)

    def key(number: int) -> str:
        return str(ec2.create_key_pair(KeyName=f"k{number}")["KeyFingerprint"])

    def tag(number: int) -> str:
        ec2.create_tags(Resources=[tagged], Tags=[{"Key": f"n{number}", "Value": "x"}])
        return f"n{number}"

    def group(number: int) -> str:
        autoscaling.create_auto_scaling_group(
            AutoScalingGroupName=f"g{number}",
            LaunchTemplate={"LaunchTemplateName": "base", "Version": "1"},
            MinSize=0,
            MaxSize=1,
            DesiredCapacity=0,
            AvailabilityZones=["us-east-1a"],
        )
        return f"g{number}"

    def parameter(number: int) -> str:
        ssm.put_parameter(Name=f"/p/{number}", Value=str(number), Type="String")
        return f"/p/{number}"

    def notebook(number: int) -> str:
        sagemaker.create_notebook_instance(
            NotebookInstanceName=f"n{number}", InstanceType="ml.t3.medium", RoleArn="arn:aws:iam::123456789012:role/x"
        )
        return f"n{number}"

    def image(number: int) -> str:
        return str(ec2.register_image(Name=f"image-{number}", ImageLocation=build.TINY_IMAGE)["ImageId"])

    def image_there(thing: str) -> bool:
        (found,) = ec2.describe_images(ImageIds=[thing])["Images"]
        return bool(found["ImageLocation"] == build.TINY_IMAGE)

    def rule(number: int) -> str:
        made = ec2.create_security_group(GroupName=f"s{number}", Description="x")["GroupId"]
        ec2.authorize_security_group_ingress(GroupId=made, IpProtocol="tcp", FromPort=1, ToPort=2, CidrIp="10.0.0.0/8")
        return str(made)

    def rule_there(thing: str) -> bool:
        (found,) = ec2.describe_security_groups(GroupIds=[thing])["SecurityGroups"]
        return len(found["IpPermissions"]) == 1

    def fingerprints() -> list[str]:
        return [pair["KeyFingerprint"] for pair in ec2.describe_key_pairs()["KeyPairs"]]

    return [
        Writer(
            "instances",
            lambda n: plane.launch()[0],
            lambda i: ec2.describe_instances(InstanceIds=[i])["Reservations"],
        ),
        Writer(
            "volumes",
            lambda n: str(ec2.create_volume(AvailabilityZone="us-east-1a", Size=1 + n)["VolumeId"]),
            lambda i: ec2.describe_volumes(VolumeIds=[i])["Volumes"],
        ),
        Writer("security groups", rule, rule_there),
        Writer(
            "VPCs",
            lambda n: str(ec2.create_vpc(CidrBlock=f"10.{n % 250}.0.0/16")["Vpc"]["VpcId"]),
            lambda i: ec2.describe_vpcs(VpcIds=[i])["Vpcs"],
        ),
        Writer("key pairs", key, lambda i: i in fingerprints()),
        Writer("images", image, image_there),
        Writer("tags", tag, lambda i: i in [t["Key"] for t in ec2.describe_vpcs(VpcIds=[tagged])["Vpcs"][0]["Tags"]]),
        Writer(
            "stacks",
            lambda n: str(cloudformation.create_stack(StackName=f"s{n}", TemplateBody=_TEMPLATE)["StackId"]),
            lambda i: cloudformation.describe_stack_resources(StackName=i)["StackResources"],
        ),
        Writer(
            "Auto Scaling groups",
            group,
            lambda i: autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[i])["AutoScalingGroups"],
        ),
        Writer(
            "launch templates",
            lambda n: str(
                ec2.create_launch_template(LaunchTemplateName=f"t{n}", LaunchTemplateData=_LAUNCH)["LaunchTemplate"][
                    "LaunchTemplateId"
                ]
            ),
            lambda i: ec2.describe_launch_template_versions(LaunchTemplateId=i)["LaunchTemplateVersions"],
        ),
        Writer("parameters", parameter, lambda i: ssm.get_parameter(Name=i)["Parameter"]["Value"] == i[3:]),
        Writer(
            "roles",
            lambda n: str(iam.create_role(RoleName=f"r{n}", AssumeRolePolicyDocument=_ROLE)["Role"]["RoleName"]),
            lambda i: iam.get_role(RoleName=i)["Role"],
        ),
        Writer(
            "notebook instances",
            notebook,
            lambda i: sagemaker.describe_notebook_instance(NotebookInstanceName=i)["NotebookInstanceName"] == i,
        ),
    ]


def test_kill_9_amid_writes_loses_nothing_that_was_acknowledged(own: Plane) -> None:
    kinds = writers(own)
    end = threading.Event()
    threads = [threading.Thread(target=kind.go, args=(end,)) for kind in kinds]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: all(len(kind.acknowledged) > 1 for kind in kinds), timeout=60)
        own.kill()  # in the midst of all of them
    finally:
        end.set()
        for thread in threads:
            thread.join(60)
    own.start()
    assert {kind.name: kind.lost() for kind in kinds if kind.lost()} == {}
    instances = next(kind for kind in kinds if kind.name == "instances").acknowledged
    for instance_id in instances:
        own.until(instance_id, "running", 60)
        container = own.container(instance_id)
        assert container is not None
        assert container["State"]["Running"]

    def records() -> set[str]:
        # In every account: the machines of notebook instances have one of their own.
        return {row["id"] for row in own.api("GET", "/instances")["instances"]}

    # The other way round: no container without a record.
    known = records()
    assert {raw["Labels"][names.LABEL_INSTANCE] for raw in own.containers()} <= known
    assert [orphan for orphan in own.api("GET", "/orphans")["orphans"] if not orphan["foreign"]] == []
    own.client().terminate_instances(InstanceIds=instances)
    for instance_id in instances:
        own.until(instance_id, "terminated", 60)
    assert not set(instances) & {raw["Labels"][names.LABEL_INSTANCE] for raw in own.containers()}
    reset(own)  # notebook instances can't be deleted before they have stopped
    assert own.containers() == []
    assert own.volumes() == []


def test_wishes_that_were_acknowledged_are_performed_after_kill_9(own: Plane) -> None:
    stop, end = own.run(), own.run()
    own.client().stop_instances(InstanceIds=[stop])
    own.client().terminate_instances(InstanceIds=[end])
    own.kill()
    own.start()
    own.until(stop, "stopped")
    own.until(end, "terminated")
    container = own.container(stop)
    assert container is not None
    assert not container["State"]["Running"]
    assert names.root_volume_name(stop) in own.volumes()
    assert own.container(end) is None
    assert names.root_volume_name(end) not in own.volumes()


def test_down_and_up_adopts_running_containers_and_leaves_them_alone(own: Plane) -> None:
    tags = [{"ResourceType": "instance", "Tags": [{"Key": names.TAG_PUBLISH, "Value": "80"}]}]
    slow = (
        "#!/bin/sh\necho begun >> /ebs/log\n"
        "while [ ! -e /ebs/go ]; do sleep 0.1; done\necho ended >> /ebs/log\nexit 3\n"
    )
    instance_id, stopped = own.run(TagSpecifications=tags, UserData=slow), own.run()
    own.client().stop_instances(InstanceIds=[stopped])
    own.until(stopped, "stopped")
    eventually(lambda: own.read(instance_id, "/ebs/log") == "begun\n")
    before, description, ports = own.container(instance_id), own.describe(instance_id), own.seen(instance_id)["ports"]
    assert before is not None

    own.stop()
    while_down = own.container(instance_id)
    assert while_down is not None
    assert while_down["State"]["Running"]
    own.start()

    own.until(instance_id, "running")
    own.until(stopped, "stopped")
    after = own.container(instance_id)
    assert after is not None
    assert (after["Id"], after["State"]["StartedAt"]) == (before["Id"], before["State"]["StartedAt"])
    now = own.describe(instance_id)
    for field in ("PrivateIpAddress", "SubnetId", "LaunchTime", "SecurityGroups", "BlockDeviceMappings", "Tags"):
        assert now[field] == description[field], field
    assert own.seen(instance_id)["ports"] == ports
    # The user data that was under way is still followed, and not begun a second time.
    assert own.seen(instance_id)["user_data"] == "running"
    own.execute(instance_id, "touch", "/ebs/go")
    eventually(lambda: own.seen(instance_id)["user_data"] == "failed (exit 3)")
    assert own.read(instance_id, "/ebs/log") == "begun\nended\n"


def test_instances_that_change_while_the_control_plane_is_down_are_seen_at_its_start(own: Plane) -> None:
    ended, lost = own.run(), own.run()
    own.stop()
    own.engine.api.kill(names.container_name(ended))
    own.engine.api.remove_container(names.container_name(lost), force=True)
    own.start()
    own.until(ended, "stopped")
    assert "exit code 137" in own.reason(ended)
    eventually(lambda: own.seen(lost)["impaired"])
    assert own.state(lost) == "running"
    assert own.container(lost) is None
    own.client().terminate_instances(InstanceIds=[ended, lost])
    own.until(ended, "terminated")
    own.until(lost, "terminated")
    assert not {names.root_volume_name(ended), names.root_volume_name(lost)} & set(own.volumes())


def test_a_group_goes_on_with_what_it_waited_for(own: Plane) -> None:
    client, name = own.client("autoscaling"), "waiting"
    client.create_launch_configuration(LaunchConfigurationName=name, ImageId=AMI, InstanceType="t3.nano")
    client.create_auto_scaling_group(
        AutoScalingGroupName=name,
        LaunchConfigurationName=name,
        MinSize=1,
        MaxSize=1,
        AvailabilityZones=["us-east-1a"],
        HealthCheckGracePeriod=4,
    )
    (member,) = client.describe_auto_scaling_instances()["AutoScalingInstances"]
    own.until(member["InstanceId"], "running")
    client.set_instance_health(InstanceId=member["InstanceId"], HealthStatus="Unhealthy")
    own.kill()
    own.start()
    eventually(lambda: own.state(member["InstanceId"]) == "terminated", what="it is replaced")
    client.delete_auto_scaling_group(AutoScalingGroupName=name, ForceDelete=True)


def test_damaged_state_is_set_aside_and_instances_are_rebuilt_from_their_containers(own: Plane) -> None:
    tags = [{"Key": "Name", "Value": "web"}, {"Key": names.TAG_PUBLISH, "Value": "80"}]
    running = own.run(InstanceType="t3.small", TagSpecifications=[{"ResourceType": "instance", "Tags": tags}])
    stopped, lost = own.run(), own.run()
    own.engine.api.remove_container(names.container_name(lost), force=True)
    own.execute(running, "sh", "-c", "echo kept > /ebs/file")
    own.client().stop_instances(InstanceIds=[stopped])
    own.until(stopped, "stopped")
    before, described, ports = own.container(running), own.describe(running), own.seen(running)["ports"]
    assert before is not None
    own.stop()
    state = own.settings.state_file
    damaged = state.read_bytes()[:-2] + b"xx"
    state.write_bytes(damaged)
    own.start()

    aside = list(state.parent.glob("state.bin.unreadable-*"))
    assert [path.read_bytes() for path in aside] == [damaged]
    notices = own.api("GET", "/status")["notices"]
    assert any("could not be read" in text and aside[0].name in text for text in notices), notices
    assert any("rebuilt" in text and running in text and stopped in text for text in notices), notices
    after, now = own.container(running), own.describe(running)
    assert after is not None
    assert (after["Id"], after["State"]["StartedAt"]) == (before["Id"], before["State"]["StartedAt"])
    # A volume alone is too little to rebuild an instance from: it is shown, and kept until somebody removes it.
    mine = [orphan for orphan in own.api("GET", "/orphans")["orphans"] if not orphan["foreign"]]
    assert [(orphan["kind"], orphan["instance_id"]) for orphan in mine] == [("volume", lost)]
    assert names.root_volume_name(lost) in own.volumes()
    own.api("POST", "/remove", {"kind": "volume", "name": mine[0]["name"]})
    assert names.root_volume_name(lost) not in own.volumes()
    assert own.state(running) == "running"
    assert own.state(stopped) == "stopped"
    for field in ("InstanceType", "ImageId", "LaunchTime"):
        assert now[field] == described[field], field
    assert {tag["Key"]: tag["Value"] for tag in now["Tags"]} == {tag["Key"]: tag["Value"] for tag in tags}
    assert own.seen(running)["ports"] == ports
    own.client().stop_instances(InstanceIds=[running])
    own.until(running, "stopped")
    own.client().start_instances(InstanceIds=[running, stopped])
    own.until(running, "running")
    own.until(stopped, "running")
    assert own.read(running, "/ebs/file") == "kept\n"
    own.client().terminate_instances(InstanceIds=[running, stopped])
    own.until(running, "terminated")
    own.until(stopped, "terminated")
    assert not {names.root_volume_name(running), names.root_volume_name(stopped)} & set(own.volumes())


def reset(plane: Plane) -> None:
    """Moto's own endpoint that forgets everything."""
    port = int(plane.endpoint.rpartition(":")[2])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/moto-api/reset")
    assert connection.getresponse().status == 200
    connection.close()


def test_a_reset_that_is_allowed_leaves_no_container_and_no_volume(own: Plane) -> None:
    own.run(DisableApiTermination=True)
    ebs = {"VolumeSize": 8, "DeleteOnTermination": False}
    kept = {"BlockDeviceMappings": [{"DeviceName": "/dev/sda1", "Ebs": ebs}]}
    own.run(**kept)
    ended = own.run(**kept)
    own.client().terminate_instances(InstanceIds=[ended])
    own.until(ended, "terminated")
    assert names.root_volume_name(ended) in own.volumes(), "kept, until somebody deletes it"
    bare = own.run()
    (root,) = own.describe(bare)["BlockDeviceMappings"]
    own.client().detach_volume(VolumeId=root["Ebs"]["VolumeId"], InstanceId=bare)
    # A group replaces members that end, but not those that a reset ends.
    scaling = own.client("autoscaling")
    scaling.create_launch_configuration(LaunchConfigurationName="c", ImageId=AMI, InstanceType="t3.nano")
    sizes = {"MinSize": 1, "MaxSize": 1, "AvailabilityZones": ["us-east-1a"]}
    scaling.create_auto_scaling_group(AutoScalingGroupName="g", LaunchConfigurationName="c", **sizes)
    reset(own)
    assert own.containers() == []
    assert own.volumes() == []
    assert own.client().describe_instances()["Reservations"] == []
    # The endpoint goes on, also after a restart: what was forgotten stays forgotten.
    own.kill()
    own.start()
    assert own.client().describe_instances()["Reservations"] == []
    assert own.state(own.run()) == "running"


def test_a_peering_reaches_the_region_that_is_there_after_a_reset(own: Plane) -> None:
    regions = ("us-east-1", "eu-west-1")
    for region in regions:
        own.client(region=region).describe_vpcs()
    reset(own)
    vpcs = [own.client(region=region).create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"] for region in regions]
    made = own.client().create_vpc_peering_connection(VpcId=vpcs[0], PeerVpcId=vpcs[1], PeerRegion=regions[1])
    name = made["VpcPeeringConnection"]["VpcPeeringConnectionId"]
    for region in regions:
        found = own.client(region=region).describe_vpc_peering_connections()["VpcPeeringConnections"]
        assert [one["VpcPeeringConnectionId"] for one in found] == [name]
    gateways = [own.client(region=one).create_transit_gateway()["TransitGateway"] for one in regions]
    attachment = own.client().create_transit_gateway_peering_attachment(
        TransitGatewayId=gateways[0]["TransitGatewayId"],
        PeerTransitGatewayId=gateways[1]["TransitGatewayId"],
        PeerAccountId=gateways[1]["OwnerId"],
        PeerRegion=regions[1],
    )["TransitGatewayPeeringAttachment"]["TransitGatewayAttachmentId"]
    far = own.client(region=regions[1]).describe_transit_gateway_peering_attachments()
    assert [one["TransitGatewayAttachmentId"] for one in far["TransitGatewayPeeringAttachments"]] == [attachment]


def test_keys_and_certificates_outlive_a_kill(own: Plane) -> None:
    kms, acm = own.client("kms"), own.client("acm")
    message = b"signed before"

    def key(spec: str, usage: str) -> str:
        return str(kms.create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]["KeyId"])

    signers = {
        key("RSA_2048", "SIGN_VERIFY"): "RSASSA_PSS_SHA_256",
        key("ECC_NIST_P256", "SIGN_VERIFY"): "ECDSA_SHA_256",
    }
    signed = {
        one: kms.sign(KeyId=one, Message=message, SigningAlgorithm=algorithm)["Signature"]
        for one, algorithm in signers.items()
    }
    secret = key("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
    encrypted = kms.encrypt(KeyId=secret, Plaintext=b"kept")["CiphertextBlob"]
    arn = acm.request_certificate(DomainName="example.com")["CertificateArn"]
    shown = acm.describe_certificate(CertificateArn=arn)["Certificate"]
    own.kill()
    own.start()
    kms, acm = own.client("kms"), own.client("acm")
    assert kms.decrypt(CiphertextBlob=encrypted)["Plaintext"] == b"kept"
    for one, algorithm in signers.items():
        how = {"KeyId": one, "Message": message, "SigningAlgorithm": algorithm}
        assert kms.verify(Signature=signed[one], **how)["SignatureValid"]
        assert kms.verify(Signature=kms.sign(**how)["Signature"], **how)["SignatureValid"]
    assert acm.describe_certificate(CertificateArn=arn)["Certificate"]["DomainName"] == shown["DomainName"]
    assert "is not saved" not in own.log(), "no service was left out of the state"
