"""The picture is of what there really is."""

from __future__ import annotations

from oblako_magic import Ec2
from oblako_magic.handles import Instance
from tests.support.plane import ControlPlane


def test_the_map_shows_the_cloud(cloud: Ec2, machine: Instance, shared_control_plane: ControlPlane) -> None:
    client = shared_control_plane.client()
    vpc = client.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
    client.create_tags(Resources=[vpc], Tags=[{"Key": "Name", "Value": "seven"}])
    subnet = client.create_subnet(VpcId=vpc, CidrBlock="10.7.1.0/24")["Subnet"]["SubnetId"]
    group = client.create_security_group(GroupName="ssh", Description="d", VpcId=vpc)["GroupId"]
    client.authorize_security_group_ingress(
        GroupId=group, IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp="192.0.2.0/24"
    )
    (inner,) = cloud.run(name="inner", subnet=subnet, security_groups=[group], publish=["8080"])
    shown = cloud.map()
    text = shown.as_text()
    tree = text[text.index("seven") :]
    assert "10.7.1.0/24" in tree
    assert f"inner  {inner.id}  running" in tree
    assert f"http://127.0.0.1:{inner.ports[0].host_port} -> 8080  [ssh]" in tree
    picture = shown.svg()
    assert "security group ssh: tcp 22 from 192.0.2.0/24" in picture
    assert "machine" in picture
    only = cloud.map([inner])
    assert [one.id for one in only.vpcs] == [vpc]
    inner.terminate()
    assert inner.id not in cloud.map().as_text()
