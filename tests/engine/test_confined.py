"""What a program in an instance can reach: its own machine, and AWS's API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.plane import ControlPlane, eventually

AMI = "ami-12c6146b"
CAPABILITIES = 0xA80425FB
"""Docker's default set, as the kernel writes it: no SYS_ADMIN, NET_ADMIN, SYS_PTRACE, SYS_MODULE."""


@pytest.fixture(scope="module")
def inside(shared_control_plane: ControlPlane) -> Iterator[tuple[ControlPlane, str]]:
    """A running instance with a published port."""
    plane, ec2 = shared_control_plane, shared_control_plane.client()
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "oblako:publish", "Value": "80"}]}]
    answer = ec2.run_instances(ImageId=AMI, MinCount=1, MaxCount=1, TagSpecifications=tags)
    instance_id = answer["Instances"][0]["InstanceId"]
    eventually(lambda: plane.state(instance_id) == "running")
    yield plane, instance_id
    ec2.terminate_instances(InstanceIds=[instance_id])


def test_it_is_confined(inside: tuple[ControlPlane, str]) -> None:
    plane, instance_id = inside
    container = plane.container(instance_id)
    assert container is not None
    host: dict[str, Any] = container["HostConfig"]
    assert not host["Privileged"]
    assert not host["CapAdd"]
    assert not host["Devices"]
    assert host["NetworkMode"] not in ("host",)
    assert (host["PidMode"], host["UTSMode"], host["UsernsMode"]) == ("", "", "")
    assert host["IpcMode"] != "host"
    assert not any("unconfined" in option for option in host["SecurityOpt"] or [])
    assert [mount["Type"] for mount in container["Mounts"]] == ["volume"], "no folder of the host's"
    bindings = [binding for ports in host["PortBindings"].values() for binding in ports]
    assert [binding["HostIp"] for binding in bindings] == ["127.0.0.1"]


def test_the_kernel_says_so_too(inside: tuple[ControlPlane, str]) -> None:
    plane, instance_id = inside
    code, text = plane.execute(instance_id, "sh", "-c", "grep CapEff /proc/1/status; ls /var/run/docker.sock")
    assert code != 0
    # The two streams of a command come in either order.
    effective = int(text.partition("CapEff:")[2].split()[0], 16)
    assert effective & ~CAPABILITIES == 0, f"{effective:x}"
    code, _ = plane.execute(instance_id, "sh", "-c", "find / -xdev -type s -name '*.sock' 2>/dev/null | grep -q .")
    assert code != 0, "no socket of an engine's"
    for command in (
        "mount -t tmpfs none /mnt",
        "mknod /tmp/disk b 8 0",
        "hostname other",
        "echo 1 > /proc/sys/kernel/panic",
    ):
        before = plane.execute(instance_id, "hostname")[1]
        code, _ = plane.execute(instance_id, "sh", "-c", command)
        if command.startswith("mknod"):
            code, _ = plane.execute(instance_id, "sh", "-c", "head -c1 /tmp/disk")
        assert code != 0, command
        assert plane.execute(instance_id, "hostname")[1] == before


def test_the_hosts_loopback_is_not_reached(inside: tuple[ControlPlane, str]) -> None:
    """What listens on loopback alone, another user's control plane among it, is not there for an instance."""
    import socket

    plane, instance_id = inside
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        for host in ("127.0.0.1", "host.docker.internal"):
            code, _ = plane.execute(instance_id, "wget", "-O", "-", f"http://{host}:{port}/")
            assert code != 0
        listener.settimeout(0.2)
        with pytest.raises(TimeoutError):
            listener.accept()
