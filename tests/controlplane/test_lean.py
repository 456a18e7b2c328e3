"""What the control plane lays over moto to be quick changes no answer."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

CALLS = """
import os, sys
os.environ["MOTO_DISABLE_GLOBAL_CORS"] = "true"
if sys.argv[1] == "lean":
    from oblako_magic.controlplane import lean
    lean.install()
else:
    sys.modules["rfc3987_syntax"] = None
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.test import EnvironBuilder

app = DomainDispatcherApplication(create_backend_app)

def call(service, body):
    scope = f"Credential=test/20260101/eu-west-1/{service}/aws4_request"
    headers = {"Authorization": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=x"}
    kind = "application/x-www-form-urlencoded; charset=utf-8"
    builder = EnvironBuilder("/", method="POST", data=body, headers=headers, content_type=kind)
    print(b"".join(app(builder.get_environ(), lambda status, headers: print(status))).decode())

run = "Action=RunInstances&Version=2016-11-15&ImageId=ami-03cf127a&InstanceType=t3.micro&MinCount=2&MaxCount=2"
tag = "&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=Name"
disk = "&BlockDeviceMapping.1.DeviceName=/dev/sdf&BlockDeviceMapping.1.Ebs.VolumeSize=2"
call("ec2", run + tag + "&TagSpecification.1.Tag.1.Value=%3Ca%3E%26b")
call("ec2", run + disk + "&UserData=IyEvYmluL3NoCg==")
call("ec2", run + "&ImageId=ami-00000000")
by = "&Filter.1.Name={}&Filter.1.Value.1={}".format
for action in (
    *("Instances", "InstanceStatus", "Tags", "Volumes", "Regions", "AvailabilityZones", "SecurityGroups"),
    *("Subnets", "Vpcs", "NetworkInterfaces", "RouteTables", "KeyPairs", "Instances&InstanceId.1=i-1234"),
    "Images&ImageId.1=ami-03cf127a",
    "Images" + by("image-id", "ami-03cf*"),
    "Tags" + by("resource-id", "i-*"),
    "InstanceTypeOfferings" + by("instance-type", "t3.micro"),
):
    call("ec2", f"Action=Describe{action}&Version=2016-11-15")
call("autoscaling", "Action=DescribeAutoScalingGroups&Version=2011-01-01")
call("sts", "Action=GetCallerIdentity&Version=2011-06-15")
call("iam", "Action=ListPolicies&Version=2010-05-08&MaxItems=5")
call("elasticloadbalancing", "Action=DescribeLoadBalancers&Version=2015-12-01")
"""
CHANGES = (
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "uuid"),
    (r"-[0-9a-f]{8,17}\\b", "-id"),
    (r"\\d{4}-\\d\\d-\\d\\dT[\\d:.]+Z?", "time"),
    (r"\\b\\d{1,3}[.-]\\d{1,3}[.-]\\d{1,3}[.-]\\d{1,3}\\b", "address"),
    (r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", "mac"),
    (r"(requestId|RequestId)>[^<]*<", "request"),
)
"""What differs from run to run."""


def answers(how: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", CALLS, how],
        env={**os.environ, "AWS_ACCESS_KEY_ID": "test"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    text = done.stdout
    for pattern, name in CHANGES:
        text = re.sub(pattern.replace("\\\\", "\\"), name, text)
    return text


@pytest.mark.slow
def test_no_answer_depends_on_it() -> None:
    lean, plain = answers("lean").splitlines(), answers("plain").splitlines()
    assert len(lean) > 20
    assert lean == plain
