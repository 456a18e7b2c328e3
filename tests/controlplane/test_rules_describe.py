"""What DescribeInstances and DescribeInstanceStatus tell, and each of their filters."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from botocore import xform_name
from botocore.session import get_session

from tests.controlplane.planes import Plane
from tests.controlplane.test_rules import SIMULATED, refused, simulated


@pytest.fixture(scope="module")
def pair(plane: Plane) -> Iterator[tuple[str, str, str]]:
    """Two instances, and the tag value that tells them from all others: (t3.micro web, t2.small db, mark)."""
    mark, found = f"mark-{uuid.uuid4().hex[:8]}", []
    special: dict[str, Any] = {"Monitoring": {"Enabled": True}, "MetadataOptions": {"HttpTokens": "required"}}
    other: dict[str, Any] = {}
    for name, kind, more in (
        ("web-1", "t3.micro", special),
        ("db[1]", "t2.small", other),
    ):
        tags = [*SIMULATED[0]["Tags"], {"Key": "Name", "Value": name}, {"Key": "mark", "Value": mark}]
        made = simulated(plane, InstanceType=kind, TagSpecifications=[{**SIMULATED[0], "Tags": tags}], **more)
        found.append(made["Instances"][0]["InstanceId"])
        plane.until(found[-1], "running")
    yield found[0], found[1], mark
    plane.client().terminate_instances(InstanceIds=found)


def chosen(plane: Plane, pair: tuple[str, str, str], **filters: list[str]) -> str:
    """Which of the pair DescribeInstances answers: "", "a", "b", "ab"."""
    given = [{"Name": "tag:mark", "Values": [pair[2]]}]
    given += [{"Name": name, "Values": values} for name, values in filters.items()]
    answer = plane.client().describe_instances(Filters=given)
    found = {one["InstanceId"] for reservation in answer["Reservations"] for one in reservation["Instances"]}
    return "".join(letter for letter, one in zip("ab", pair, strict=False) if one in found)


class TestFilters:
    def test_every_documented_name_is_taken(self, plane: Plane, pair: tuple[str, str, str]) -> None:
        for action in ("DescribeInstances", "DescribeInstanceStatus"):
            model = get_session().get_service_model("ec2").operation_model(action).input_shape
            names = re.findall(r"<p> ?<code>([a-z0-9.-]+)</code> -", model.members["Filters"].documentation)
            assert len(names) > 15
            call = getattr(plane.client(), xform_name(action))
            for name in names:
                answer = call(Filters=[{"Name": name, "Values": ["there-is-no-such-value"]}])
                found = answer.get("Reservations", answer.get("InstanceStatuses"))
                assert found == [], name

    def test_each_finds_what_the_answer_shows(self, plane: Plane, pair: tuple[str, str, str]) -> None:
        one = plane.describe(pair[0])
        nic, device = one["NetworkInterfaces"][0], one["BlockDeviceMappings"][0]
        of_one = {
            "block-device-mapping.volume-id": device["Ebs"]["VolumeId"],
            "client-token": one["ClientToken"],
            "dns-name": one["PublicDnsName"],
            "instance-id": one["InstanceId"],
            "ip-address": one["PublicIpAddress"],
            "private-dns-name": one["PrivateDnsName"],
            "network-interface.addresses.association.public-ip": one["PublicIpAddress"],
            "network-interface.attachment.attachment-id": nic["Attachment"]["AttachmentId"],
            "network-interface.attachment.instance-id": one["InstanceId"],
            "network-interface.mac-address": nic["MacAddress"],
            "network-interface.network-interface-id": nic["NetworkInterfaceId"],
            "network-interface.private-ip-address": one["PrivateIpAddress"],
            "metadata-options.http-tokens": "required",
            "monitoring-state": "enabled",
            "ena-support": "true",
        }
        of_both = {
            "block-device-mapping.attach-time": "20??-*",
            "block-device-mapping.delete-on-termination": "true",
            "block-device-mapping.device-name": device["DeviceName"],
            "instance-state-code": "16",
            "instance.group-name": "default",
            "launch-index": "0",
            "launch-time": one["LaunchTime"].strftime("%Y-%m-*"),
            "network-interface.association.ip-owner-id": "amazon",
            "network-interface.attachment.device-index": "0",
            "network-interface.group-id": nic["Groups"][0]["GroupId"],
            "network-interface.vpc-id": one["VpcId"],
            "owner-id": nic["OwnerId"],
            "platform-details": one["PlatformDetails"],
            "root-device-type": "ebs",
            "tenancy": "default",
        }
        got = {name: chosen(plane, pair, **{name: [value]}) for name, value in {**of_one, **of_both}.items()}
        assert got == {**dict.fromkeys(of_one, "a"), **dict.fromkeys(of_both, "ab")}
        # Nobody has an Elastic IP, nor is spot.
        assert chosen(plane, pair, **{"network-interface.association.allocation-id": ["*"]}) == ""
        assert chosen(plane, pair, **{"instance-lifecycle": ["spot"]}) == ""

    @pytest.mark.parametrize(
        ("name", "values", "who"),
        [
            ("instance-type", ["t3.*"], "a"),
            ("instance-type", ["t?.micro", "t2.small"], "ab"),
            ("instance-type", ["T3.micro"], ""),
            ("tag:Name", ["web-?"], "a"),
            ("tag:Name", ["web-\\?"], ""),
            ("tag:Name", ["db[1]"], "b"),
            ("tag:Name", ["[d]b*"], ""),
            ("tag-key", ["Nam?"], "ab"),
            ("image-id", ["ami-12*"], "ab"),
            ("state-reason-code", ["*"], ""),
            ("state-reason-code", [""], "ab"),
        ],
    )
    def test_wildcards(self, plane: Plane, pair: tuple[str, str, str], name: str, values: list[str], who: str) -> None:
        assert chosen(plane, pair, **{name: values}) == who

    def test_there_is_no_such_filter(self, plane: Plane) -> None:
        bad = [{"Name": "colour", "Values": ["red"]}]
        for call in (plane.client().describe_instances, plane.client().describe_instance_status):
            assert "'colour'" in refused("InvalidParameterValue", call, Filters=bad)

    def test_of_the_status(self, plane: Plane, pair: tuple[str, str, str]) -> None:
        client = plane.client()

        def which(**kwargs: Any) -> set[str]:
            return {one["InstanceId"] for one in client.describe_instance_status(**kwargs)["InstanceStatuses"]}

        good = [{"Name": "instance-status.status", "Values": ["ok"]}]
        assert which(InstanceIds=[*pair[:2], pair[0]], Filters=good) == set(pair[:2])
        assert not which(InstanceIds=list(pair[:2]), Filters=[{"Name": "system-status.status", "Values": ["impaired"]}])
        pages = client.get_paginator("describe_instance_status").paginate(
            IncludeAllInstances=True, PaginationConfig={"PageSize": 5}
        )
        paged = [one["InstanceId"] for page in pages for one in page["InstanceStatuses"]]
        assert len(paged) == len(set(paged))
        assert set(paged) == which(IncludeAllInstances=True)
        refused("InvalidParameterCombination", client.describe_instance_status, InstanceIds=[pair[0]], MaxResults=5)


def test_what_is_told_of_an_instance(plane: Plane, pair: tuple[str, str, str]) -> None:
    one = plane.describe(pair[0])
    assert (one["PlatformDetails"], one["UsageOperation"]) == ("Windows", "RunInstances:0002")
    assert one["CpuOptions"] == {"CoreCount": 1, "ThreadsPerCore": 2}
    assert (one["EnaSupport"], one["HibernationOptions"]) == (True, {"Configured": False})
    assert one["PrivateDnsNameOptions"]["HostnameType"] == "ip-name"
    association = one["NetworkInterfaces"][0]["Association"]
    assert association["IpOwnerId"] == "amazon"
    assert association["PublicDnsName"] == one["PublicDnsName"]


def test_an_instance_that_is_named_twice_is_told_once(plane: Plane, pair: tuple[str, str, str]) -> None:
    answer = plane.client().describe_instances(InstanceIds=[pair[0], pair[0]])
    assert [one["InstanceId"] for one in answer["Reservations"][0]["Instances"]] == [pair[0]]
