"""Requests that make no sense: the answer is AWS's kind of error, the server lives, nothing half-made is left."""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.controlplane.planes import Plane
from tests.controlplane.test_guard import address, raw

VERSION = "2016-11-15"
FUZZ = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,  # CI must say the same twice
    database=None,
    phases=[Phase.explicit, Phase.generate],  # without tracing: a failing request is short enough
    suppress_health_check=list(HealthCheck),
)
ANY = st.characters(max_codepoint=0xFFFF)
"""With surrogates, which the default alphabet leaves out at the cost of half a minute."""


@pytest.fixture(scope="module")
def bare(
    new_plane: Callable[..., Any], engine_backend: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Plane]:
    """A control plane whose instances are records only: what is asked for here is thousands."""
    nowhere = tmp_path_factory.mktemp("engine") / "none.sock"
    with new_plane(engine_backend, DOCKER_HOST=f"unix://{nowhere}") as plane:
        yield plane


def signed(service: str) -> str:
    scope = f"test/20260101/us-east-1/{service}/aws4_request"
    return f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"


def ask(plane: Plane, body: bytes, service: str = "ec2", method: str = "POST", path: str = "/", **more: str) -> Any:
    """One request; (status, headers, body)."""
    host, port = address(plane)
    connection = http.client.HTTPConnection(host, port, timeout=30)
    headers = {"Authorization": signed(service), "Content-Type": "application/x-www-form-urlencoded", **more}
    try:
        connection.request(method, path, body, {key.replace("_", "-"): value for key, value in headers.items()})
        response = connection.getresponse()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
    finally:
        connection.close()


def check(plane: Plane, answer: Any, speaks_json: bool = False) -> int:
    """It is AWS's kind of answer, and no fault of the server's; the status."""
    status, headers, data = answer
    assert status < 500, (status, data[:600])
    assert b"Traceback" not in data
    if status >= 400:
        if speaks_json:
            assert json.loads(data).get("__type") or headers.get("x-amzn-errortype"), data[:600]
        else:
            root = ElementTree.fromstring(data)
            assert root.findtext(".//{*}Code"), data[:600]
            assert root.findtext(".//{*}Message") is not None
    elif not speaks_json and data.lstrip().startswith(b"<"):
        ElementTree.fromstring(data)
    return int(status)


def live(plane: Plane) -> set[str]:
    """The ids of instances that are not terminated."""
    pages = plane.client().get_paginator("describe_instances").paginate()
    found = [i for page in pages for r in page["Reservations"] for i in r["Instances"]]
    return {i["InstanceId"] for i in found if i["State"]["Name"] not in ("terminated", "shutting-down")}


def form(parameters: dict[str, str]) -> bytes:
    return urlencode({"Version": VERSION, **parameters}, errors="surrogatepass").encode()


ODD = st.one_of(
    st.sampled_from(
        [
            "", " ", "0", "-1", "1.5", "99999999999999999999", "NaN", "true", "null", "[]", "{}", "i-0", "ami-",
            "vpc-x",
            "\x00", "\x1b[31m", "\ud800", "\ufffe", "\u202e", "💥", "<script>alert(1)</script>", "&#1;", "]]>", "%",
            "%zz",
            "../../etc/passwd", "' OR 1=1", "${jndi:x}", "{{7*7}}", "10.0.0.0/33", "::/0", "a\r\nSet-Cookie: x=1",
            "A" * 20000,
        ]
    ),
    st.text(ANY, max_size=30),
    st.integers().map(str),
)  # fmt: skip
ACTIONS = st.sampled_from(
    [
        "RunInstances", "DescribeInstances", "StopInstances", "StartInstances", "TerminateInstances", "RebootInstances",
        "CreateTags", "DeleteTags", "DescribeTags", "CreateVolume", "AttachVolume", "ModifyInstanceAttribute",
        "DescribeInstanceAttribute", "CreateSecurityGroup", "AuthorizeSecurityGroupIngress", "CreateVpc",
        "CreateSubnet",
        "RegisterImage", "DescribeImages", "CreateImage", "ImportKeyPair", "CreateKeyPair", "CreateLaunchTemplate",
        "AllocateAddress", "AssociateAddress", "DescribeInstanceStatus", "GetConsoleOutput", "CreateSnapshot",
        "DescribeInstanceTypes", "RequestSpotInstances", "CreateFleet", "NoSuchAction", "run_instances", "__init__", "",
    ]
)  # fmt: skip
NAMES = st.sampled_from(
    [
        "ImageId", "MinCount", "MaxCount", "InstanceType", "InstanceId", "InstanceId.1", "InstanceId.x",
        "InstanceId.-1",
        "ResourceId.1", "Tag.1.Key", "Tag.1.Value", "Tag.1", "Tag", "TagSpecification.1.ResourceType",
        "TagSpecification.1.Tag.1.Key", "TagSpecification.1.Tag.1.Value", "UserData", "KeyName", "SubnetId",
        "CidrBlock",
        "SecurityGroupId.1", "Size", "VolumeId", "Device", "Filter.1.Name", "Filter.1.Value.1", "MaxResults",
        "NextToken",
        "GroupName", "GroupDescription", "GroupId", "IpPermissions.1.FromPort", "IpPermissions.1.IpProtocol",
        "Attribute",
        "IpPermissions.1.IpRanges.1.CidrIp", "BlockDeviceMapping.1.DeviceName", "BlockDeviceMapping.1.Ebs.VolumeSize",
        "NetworkInterface.1.DeviceIndex", "NetworkInterface.1.SubnetId", "LaunchTemplate.LaunchTemplateName", "Value",
        "InstanceType.Value", "UserData.Value", "Placement.AvailabilityZone", "AvailabilityZone", "DryRun", "Name",
        "IamInstanceProfile.Arn", "MetadataOptions.HttpTokens", "VpcId", "PublicKeyMaterial", "ClientToken",
        "SpotPrice", "LaunchSpecification.ImageId", "TargetCapacitySpecification.TotalTargetCapacity",
        "LaunchTemplateData.ImageId", "Action", "Version",
    ]
)  # fmt: skip


@FUZZ
@given(action=ACTIONS, parameters=st.dictionaries(NAMES, ODD, max_size=6), good=st.booleans())
def test_malformed_ec2_requests(bare: Plane, action: str, parameters: dict[str, str], good: bool) -> None:
    before = live(bare)
    base = {"Action": action}
    if good and action == "RunInstances":  # so that it is the odd part that fails
        base |= {"ImageId": "ami-12c6146b", "MinCount": "1", "MaxCount": "1", "InstanceType": "t3.micro"}
    # Counts that make sense and are huge cost time, and say nothing.
    given_ = {
        key: value for key, value in parameters.items()
        if not ("Count" in key or "Capacity" in key) or not re.fullmatch(r"\s*\+?\d{2,}\s*", value)
    }  # fmt: skip
    status = check(bare, ask(bare, form({**base, **given_})))
    after = live(bare)
    if status >= 400:
        assert after == before, "an error leaves nothing behind"
    for instance_id in after - before:
        bare.client().terminate_instances(InstanceIds=[instance_id])


@FUZZ
@given(
    body=st.one_of(
        st.binary(max_size=300), st.text(ANY, max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))
    ),
    service=st.sampled_from(
        ["ec2", "sts", "iam", "autoscaling", "cloudformation", "s3", "nonsense", "", "EC2", "../x"]
    ),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]),
    path=st.sampled_from(["/", "//", "/%00", "/..", "/a?b=c", "/?Action=DescribeInstances", "/?Action", "/%ff", "/_x"]),
)
def test_bodies_that_are_no_form(bare: Plane, body: bytes, service: str, method: str, path: str) -> None:
    status, _, data = ask(bare, body, service, method, path)
    assert status < 500, (status, data[:500])
    assert b"Traceback" not in data
    if status >= 400 and b"<html" in data.lower():
        raise AssertionError(data[:300])


@FUZZ
@given(
    target=st.sampled_from(
        [
            "AmazonSSM.GetParameter", "AmazonSSM.PutParameter", "AmazonSSM.SendCommand", "AmazonSSM.Nonsense",
            "SageMaker.CreateNotebookInstance", "SageMaker.DescribeNotebookInstance", "AmazonSSM", "x.y.z", ".",
        ]
    ),
    body=st.one_of(
        st.sampled_from([b"", b"{", b"[]", b"null", b"1", b'"x"', b"\xff\xfe", b'{"Name": ' + b"[" * 5000, b"{}" * 3]),
        st.dictionaries(
            st.sampled_from(["Name", "Names", "Value", "Type", "NotebookInstanceName", "InstanceType", "RoleArn"]),
            st.one_of(st.none(), st.integers(), st.text(ANY, max_size=20), st.lists(st.integers(), max_size=2)),
        ).map(lambda value: json.dumps(value).encode()),
    ),
)  # fmt: skip
def test_broken_json(bare: Plane, target: str, body: bytes) -> None:
    service = "sagemaker" if target.startswith("Sage") else "ssm"
    answer = ask(bare, body, service, X_Amz_Target=target, Content_Type="application/x-amz-json-1.1")
    check(bare, answer, speaks_json=True)


@FUZZ
@given(value=st.one_of(st.sampled_from(["AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 ", "Credential=", "Basic eDp5", "\xff",
    "AWS4-HMAC-SHA256 Credential=////aws4_request", "AWS test:x", "Bearer x", "AWS4-HMAC-SHA256 Credential=a/b/c"]),
    st.text(st.characters(min_codepoint=33, max_codepoint=255), min_size=1, max_size=60)),
    name=st.sampled_from(["Authorization", "Host", "Origin", "X-Amz-Target", "Content-Type", "X-Amz-Date"]),
)  # fmt: skip
def test_hostile_headers(bare: Plane, name: str, value: str) -> None:
    status, _, data = ask(bare, form({"Action": "DescribeVpcs"}), **{name: value})
    assert status < 500, (status, data[:500])
    if name == "Host" or (name == "Origin" and status >= 400):
        assert status in (400, 403)


@pytest.mark.parametrize(
    "user_data",
    [b"", b"\x00\xff", b"#!", b"#!/no/such\n", b"#!/bin/sh\n" + b"x" * 20000, "#!/bin/sh\n\u202e".encode("utf-16")],
)
def test_odd_user_data_launches_or_is_refused(bare: Plane, user_data: bytes) -> None:
    parameters = {"Action": "RunInstances", "ImageId": "ami-12c6146b", "MinCount": "1", "MaxCount": "1"}
    for text in (base64.b64encode(user_data).decode(), user_data.decode("latin-1"), "=", "===", "a"):
        before = live(bare)
        if check(bare, ask(bare, form({**parameters, "UserData": text}))) >= 400:
            assert live(bare) == before
        else:
            bare.client().terminate_instances(InstanceIds=sorted(live(bare) - before))


def test_a_launch_that_fails_in_the_middle_leaves_nothing(bare: Plane) -> None:
    """Moto makes the instance first and chokes on what it is to be attached to."""
    ec2 = bare.client()

    def everything() -> tuple[set[str], int, int]:
        volumes = ec2.describe_volumes()["Volumes"]
        return live(bare), len(volumes), len(ec2.describe_network_interfaces()["NetworkInterfaces"])

    before, failed = everything(), 0
    for odd in (
        {"NetworkInterface.1.DeviceIndex": "x"},
        {"NetworkInterface.1.NetworkInterfaceId": "eni-00000000"},
        {"BlockDeviceMapping.1.Ebs.VolumeSize": "x"},
        {"BlockDeviceMapping.1.DeviceName": "/dev/sdb", "BlockDeviceMapping.1.Ebs.VolumeSize": "-1"},
        {"BlockDeviceMapping.1.DeviceName": "/dev/sdb", "BlockDeviceMapping.1.Ebs.SnapshotId": "snap-none"},
        {"IamInstanceProfile.Arn": "x"},
        {"IamInstanceProfile.Name": "x"},
        {"TagSpecification.1.ResourceType": "x", "TagSpecification.1.Tag.1.Key": "a"},
        {"TagSpecification.1.Tag.1.Value": "x"},
        {"MetadataOptions.HttpTokens": "x"},
        {"SecurityGroupId.1": "sg-none"},
    ):
        base = {"Action": "RunInstances", "ImageId": "ami-12c6146b", "MinCount": "1", "MaxCount": "1"}
        if check(bare, ask(bare, form({**base, **odd}))) >= 400:
            failed += 1
            assert everything() == before, odd
        else:
            bare.client().terminate_instances(InstanceIds=sorted(live(bare) - before[0]))
            before = everything()
    assert failed


def test_what_no_xml_can_show_is_refused_and_breaks_no_later_answer(bare: Plane) -> None:
    (instance_id,) = bare.launch()
    for value in ("%00", "%1b%5b31m", "%ff", "%ef%bf%be", "%ed%a0%80"):
        body = f"Action=CreateTags&Version={VERSION}&ResourceId.1={instance_id}&Tag.1.Key=a&Tag.1.Value={value}"
        assert check(bare, ask(bare, body.encode())) == 400
    assert "Tags" not in bare.describe(instance_id)
    for value in ("", "💥", "\u202e", "<b>&amp;", "x" * 256):
        bare.client().create_tags(Resources=[instance_id], Tags=[{"Key": "Name", "Value": value}])
        assert bare.describe(instance_id)["Tags"] == [{"Key": "Name", "Value": value}]
    bare.client().terminate_instances(InstanceIds=[instance_id])


HEAD = f"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {signed('ec2')}\r\n"
CREATE = f"Action=CreateVpc&Version={VERSION}&CidrBlock=10.98.0.0/16"


@pytest.mark.parametrize(
    "data",
    [
        f"{HEAD}Content-Length: {len(CREATE) + 10}\r\n\r\n{CREATE}",
        f"{HEAD}Content-Length: x\r\n\r\n{CREATE}",
        f"{HEAD}Content-Length: -1\r\n\r\n{CREATE}",
        f"{HEAD}Content-Length: 99999999999\r\n\r\n{CREATE}",
        f"{HEAD}Transfer-Encoding: chunked\r\n\r\n{len(CREATE):x}\r\n{CREATE}",
        f"{HEAD}Transfer-Encoding: chunked\r\n\r\n-1\r\n{CREATE}\r\n0\r\n\r\n",
        f"{HEAD}Transfer-Encoding: chunked\r\n\r\nfffffffffff\r\n{CREATE}\r\n0\r\n\r\n",
        f"{HEAD}Transfer-Encoding: gzip\r\n\r\n{CREATE}",
        f"{HEAD}Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: eA==\r\n"
        "Origin: http://evil.example\r\n\r\n",
    ],
    ids=["short", "no number", "negative", "huge", "cut chunks", "negative chunk", "huge chunk", "gzip", "websocket"],
)  # fmt: skip
def test_half_a_request_is_none(bare: Plane, data: str) -> None:
    answer = raw(bare, data.encode())
    assert answer == b"" or answer.split(b" ", 2)[1][:1] == b"4" or b" 501 " in answer[:20], answer[:300]
    cidrs = [vpc["CidrBlock"] for vpc in bare.client().describe_vpcs()["Vpcs"]]
    assert "10.98.0.0/16" not in cidrs


def test_no_header_can_be_put_into_an_answer(bare: Plane) -> None:
    for path in ("/?Action=a%0d%0aX-Evil:1", "/%0d%0aX-Evil:%201", "/latest/%0d%0aX-Evil:1"):
        status, headers, _ = ask(bare, b"", method="GET", path=path)
        assert 400 <= status < 500
        assert "x-evil" not in headers


def test_hanging_up_at_any_moment_is_survived(bare: Plane) -> None:
    whole = f"{HEAD}Content-Length: {len(CREATE)}\r\n\r\n".encode()
    for end in range(0, len(whole), 7):
        with socket.create_connection(address(bare), timeout=5) as connection, suppress(OSError):
            connection.sendall(whole[:end])
    assert bare.client().describe_vpcs()["Vpcs"]
    assert bare.api("GET", "/hello")


def test_the_traceback_of_a_crash_is_in_the_log_and_not_in_the_answer(bare: Plane) -> None:
    body = form({"Action": "RunInstances", "ImageId": "ami-12c6146b", "NetworkInterface.1.DeviceIndex": "of-no-number"})
    status, _, data = ask(bare, body)
    assert (status, b"Traceback" in data) == (400, False)
    assert "of-no-number" in bare.settings.log_file.read_text().rpartition("Traceback")[2]
