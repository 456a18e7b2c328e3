"""The control plane's own list of instances: all that a panel shows, and news of every change."""

from __future__ import annotations

import threading
from typing import Any

from oblako_magic.cloud import Ec2
from tests.support.plane import ControlPlane


def _launch(client: Any, **more: Any) -> str:
    answer = client.run_instances(
        ImageId="ami-12c6146b", InstanceType="t3.small", MinCount=1, MaxCount=1,
        TagSpecifications=[{"ResourceType": "instance", "Tags": [
            {"Key": "Name", "Value": "rows"}, {"Key": "oblako:backed", "Value": "false"}]}],
        **more,
    )  # fmt: skip
    return str(answer["Instances"][0]["InstanceId"])


def test_a_row_says_what_describe_instances_says(shared_control_plane: ControlPlane, shared_ec2: Any) -> None:
    made = _launch(shared_ec2, BlockDeviceMappings=[{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 5}}])
    told = shared_ec2.describe_instances(InstanceIds=[made])["Reservations"][0]["Instances"][0]
    row = Ec2()._rows()[1][made]
    assert (row["type"], row["zone"], row["name"]) == ("t3.small", told["Placement"]["AvailabilityZone"], "rows")
    assert (row["private_ip"], row["public_ip"]) == (told["PrivateIpAddress"], told.get("PublicIpAddress", ""))
    assert (row["subnet_id"], row["vpc_id"]) == (told["SubnetId"], told["VpcId"])
    assert row["launch_time"].startswith(told["LaunchTime"].isoformat()[:19])
    assert [group["id"] for group in row["groups"]] == [group["GroupId"] for group in told["SecurityGroups"]]
    assert {volume["volume_id"] for volume in row["volumes"]} == {
        mapping["Ebs"]["VolumeId"] for mapping in told["BlockDeviceMappings"]
    }
    assert [(volume["size"], volume["root"]) for volume in row["volumes"]] == [(8, True), (5, False)]


def test_a_tag_is_news(shared_control_plane: ControlPlane, shared_ec2: Any) -> None:
    """Who waits for a change hears of one that is no state, too."""
    made = _launch(shared_ec2)
    ec2 = Ec2()
    revision, _ = ec2._rows()
    seen: list[dict[str, Any]] = []
    waiter = threading.Thread(target=lambda: seen.append(ec2._rows(revision, 30)[1][made]))
    waiter.start()
    shared_ec2.create_tags(Resources=[made], Tags=[{"Key": "Name", "Value": "renamed"}])
    waiter.join(10)
    assert [row["name"] for row in seen] == ["renamed"]
    after, _ = ec2._rows()
    shared_ec2.describe_instances()
    assert ec2._rows(after, 0.2)[0] == after, "a look is no news"
