"""Calls about an instance that moto lacks or answers otherwise than EC2; simulated instances."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.controlplane.planes import Plane
from tests.controlplane.test_rules import SIMULATED, refused, running, simulated

NOBODY = "i-0123456789abcdef0"


@pytest.fixture(scope="module")
def one(plane: Plane) -> str:
    """An instance that runs."""
    return running(plane, InstanceType="t3.micro")


@pytest.fixture(scope="module")
def ended(plane: Plane) -> str:
    """One that is terminated."""
    instance_id = running(plane)
    plane.client().terminate_instances(InstanceIds=[instance_id])
    plane.until(instance_id, "terminated")
    return instance_id


def test_monitoring_is_switched(plane: Plane, one: str) -> None:
    client = plane.client()
    (row,) = client.monitor_instances(InstanceIds=[one])["InstanceMonitorings"]
    assert row == {"InstanceId": one, "Monitoring": {"State": "pending"}}
    assert plane.describe(one)["Monitoring"] == {"State": "enabled"}
    (row,) = client.unmonitor_instances(InstanceIds=[one])["InstanceMonitorings"]
    assert row["Monitoring"] == {"State": "disabling"}
    assert plane.describe(one)["Monitoring"] == {"State": "disabled"}


class TestMetadataOptions:
    def test_what_is_not_named_stays(self, plane: Plane, one: str) -> None:
        client = plane.client()
        client.modify_instance_metadata_options(InstanceId=one, HttpTokens="required", HttpPutResponseHopLimit=3)
        answer = client.modify_instance_metadata_options(InstanceId=one, InstanceMetadataTags="enabled")
        wanted = {"HttpTokens": "required", "HttpPutResponseHopLimit": 3, "InstanceMetadataTags": "enabled"}
        for options in (answer["InstanceMetadataOptions"], plane.describe(one)["MetadataOptions"]):
            assert {name: options[name] for name in wanted} == wanted
            assert options["HttpEndpoint"] == "enabled"

    @pytest.mark.parametrize("bad", [{"HttpTokens": "maybe"}, {"HttpPutResponseHopLimit": 65}])
    def test_a_value_that_there_is_not(self, plane: Plane, one: str, bad: dict[str, Any]) -> None:
        refused("InvalidParameterValue", plane.client().modify_instance_metadata_options, InstanceId=one, **bad)
        refused("InvalidParameterValue", simulated, plane, MetadataOptions=bad)


@pytest.mark.parametrize(
    ("attribute", "key", "value"),
    [
        ("enaSupport", "EnaSupport", {"Value": True}),
        ("enclaveOptions", "EnclaveOptions", {"Enabled": False}),
        ("blockDeviceMapping", "BlockDeviceMappings", None),
    ],
)
def test_attributes_that_moto_does_not_show(plane: Plane, one: str, attribute: str, key: str, value: Any) -> None:
    answer = plane.client().describe_instance_attribute(InstanceId=one, Attribute=attribute)
    assert answer[key] == (plane.describe(one)[key] if value is None else value)
    assert answer[key]


def test_one_attribute_at_a_time(plane: Plane, one: str) -> None:
    flags = {"DisableApiStop": {"Value": True}, "SourceDestCheck": {"Value": False}}
    text = refused("InvalidParameterCombination", plane.client().modify_instance_attribute, InstanceId=one, **flags)
    assert "disableApiStop, sourceDestCheck" in text
    assert plane.describe(one)["SourceDestCheck"] is True


def test_a_launch_template_of_an_instance(plane: Plane, one: str) -> None:
    seen = plane.describe(one)
    data = plane.client().get_launch_template_data(InstanceId=one)["LaunchTemplateData"]
    assert [mapping["DeviceName"] for mapping in data["BlockDeviceMappings"]] == [seen["RootDeviceName"]]
    assert data["NetworkInterfaces"][0]["Groups"] == [group["GroupId"] for group in seen["SecurityGroups"]]
    assert data["MetadataOptions"]["HttpTokens"] == seen["MetadataOptions"]["HttpTokens"]


def test_an_attribute_is_reset(plane: Plane, one: str) -> None:
    client = plane.client()
    client.modify_instance_attribute(InstanceId=one, SourceDestCheck={"Value": False})
    client.reset_instance_attribute(InstanceId=one, Attribute="sourceDestCheck")
    assert plane.describe(one)["SourceDestCheck"] is True
    refused("IncorrectInstanceState", client.reset_instance_attribute, InstanceId=one, Attribute="kernel")


def test_cpu_credits(plane: Plane, one: str) -> None:
    client = plane.client()

    def now() -> str:
        found = client.describe_instance_credit_specifications(InstanceIds=[one])["InstanceCreditSpecifications"]
        return str(found[0]["CpuCredits"])

    assert now() == "unlimited"  # a t3's default
    wanted = [{"InstanceId": name, "CpuCredits": "standard"} for name in (one, NOBODY)]
    answer = client.modify_instance_credit_specification(InstanceCreditSpecifications=wanted)
    assert answer["SuccessfulInstanceCreditSpecifications"] == [{"InstanceId": one}]
    (bad,) = answer["UnsuccessfulInstanceCreditSpecifications"]
    assert (bad["InstanceId"], bad["Error"]["Code"]) == (NOBODY, "InvalidInstanceID.NotFound")
    assert now() == "standard"


def test_hibernation_is_chosen_at_launch(plane: Plane, one: str) -> None:
    client = plane.client()
    refused("UnsupportedHibernationConfiguration", client.stop_instances, InstanceIds=[one], Hibernate=True)
    assert plane.state(one) == "running"


class TestIds:
    def test_what_can_be_none(self, plane: Plane, one: str) -> None:
        client = plane.client()
        for call in (client.describe_instances, client.stop_instances, client.terminate_instances):
            refused("InvalidInstanceID.Malformed", call, InstanceIds=[one, "banana"])
            refused("InvalidInstanceID.NotFound", call, InstanceIds=[one, NOBODY])
        refused("InvalidInstanceID.Malformed", client.get_console_output, InstanceId="i-xyz")
        assert plane.state(one) == "running"

    def test_all_that_are_missing_are_told(self, plane: Plane) -> None:
        missing = [NOBODY, NOBODY.replace("0123", "4567")]
        text = refused("InvalidInstanceID.NotFound", plane.client().describe_instances, InstanceIds=missing)
        assert text == f"The instance IDs '{', '.join(missing)}' do not exist"


def test_user_data_has_a_limit(plane: Plane) -> None:
    refused("InvalidParameterValue", simulated, plane, UserData="x" * 16385)
    simulated(plane, UserData="x" * 16384)


@pytest.mark.parametrize("tag", [("aws:mine", "x"), ("k" * 129, "x"), ("key", "v" * 257)])
def test_tags_that_ec2_does_not_take(plane: Plane, one: str, tag: tuple[str, str]) -> None:
    tags = [{"Key": tag[0], "Value": tag[1]}]
    refused("InvalidParameterValue", plane.client().create_tags, Resources=[one], Tags=tags)
    refused("InvalidParameterValue", simulated, plane, TagSpecifications=[{**SIMULATED[0], "Tags": tags}])
    refused("InvalidInstanceID.NotFound", plane.client().create_tags, Resources=[NOBODY], Tags=[])


def test_a_name_has_one_ami(plane: Plane, one: str) -> None:
    client, name = plane.client(), f"image-{uuid.uuid4().hex[:8]}"
    image_id = client.create_image(InstanceId=one, Name=name)["ImageId"]
    assert image_id in refused("InvalidAMIName.Duplicate", client.create_image, InstanceId=one, Name=name)
    client.deregister_image(ImageId=image_id)
    client.create_image(InstanceId=one, Name=name)


def test_a_volume_tells_whether_it_goes(plane: Plane, one: str) -> None:
    filters = [{"Name": "attachment.instance-id", "Values": [one]}]
    (volume,) = plane.client().describe_volumes(Filters=filters)["Volumes"]
    assert volume["Attachments"][0]["DeleteOnTermination"] is True


def test_what_is_over_is_not_changed(plane: Plane, ended: str) -> None:
    client = plane.client()
    subnet = client.describe_subnets()["Subnets"][0]
    volume = client.create_volume(AvailabilityZone=subnet["AvailabilityZone"], Size=1)["VolumeId"]
    nic = client.create_network_interface(SubnetId=subnet["SubnetId"])["NetworkInterface"]["NetworkInterfaceId"]
    address = client.allocate_address()["AllocationId"]
    for call, more in (
        (client.attach_volume, {"VolumeId": volume, "Device": "/dev/sdf"}),
        (client.attach_network_interface, {"NetworkInterfaceId": nic, "DeviceIndex": 1}),
        (client.associate_address, {"AllocationId": address}),
        (client.create_image, {"Name": "of-nothing"}),
        (client.modify_instance_attribute, {"DisableApiTermination": {"Value": True}}),
        (client.modify_instance_metadata_options, {"HttpTokens": "required"}),
    ):
        refused("IncorrectInstanceState", call, InstanceId=ended, **more)
    refused("IncorrectInstanceState", client.monitor_instances, InstanceIds=[ended])
    assert client.describe_volumes(VolumeIds=[volume])["Volumes"][0]["State"] == "available"
    assert plane.describe(ended)["BlockDeviceMappings"] == []
