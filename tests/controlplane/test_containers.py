"""What the container of an instance is like, and what becomes of a launch that can't work."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from oblako_magic import names
from oblako_magic.engine import Engine, build
from tests.controlplane.planes import AMI, Plane
from tests.support.plane import eventually
from tests.support.sweep import RUN


def tagged(**tags: str) -> list[dict[str, Any]]:
    """TagSpecifications of an instance; ``oblako_publish`` stands for ``oblako:publish``."""
    pairs = [{"Key": key.replace("oblako_", names.TAG_PREFIX), "Value": value} for key, value in tags.items()]
    return [{"ResourceType": "instance", "Tags": pairs}]


def inspect(plane: Plane, instance_id: str) -> dict[str, Any]:
    found = plane.container(instance_id)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def typical(plane: Plane) -> str:
    """An instance as most are; not to be changed."""
    return plane.run(InstanceType="t3.nano", TagSpecifications=tagged(Name="web", oblako_publish="80,8888"))


@pytest.fixture
def image_with(engine_backend: Engine, run_label: str) -> Iterator[Callable[..., str]]:
    """Make a small image with such a configuration; removed at the end."""
    api, made = engine_backend.api, []

    def make(name: str, *changes: str, script: str = "true") -> str:
        reference = f"oblako/test-{name}-{run_label}:1"
        container = api.create_container(build.TINY_IMAGE, ["sh", "-c", script], labels={RUN: run_label})
        try:
            api.start(container["Id"])
            assert api.wait(container["Id"])["StatusCode"] == 0
            api.commit(container["Id"], *reference.split(":"), changes=[*changes, f"LABEL {RUN}={run_label}"])
        finally:
            api.remove_container(container["Id"])
        made.append(reference)
        return reference

    yield make
    for reference in made:
        api.remove_image(reference, force=True)


def test_it_has_the_designs_names_and_labels(plane: Plane, typical: str) -> None:
    raw = inspect(plane, typical)
    assert raw["Name"] == f"/oblako-ec2-{typical}"
    labels = raw["Config"]["Labels"]
    assert labels["oblako.ec2.instance-id"] == typical
    assert labels["oblako.service"] == "ec2"
    assert (labels[names.LABEL_ACCOUNT], labels[names.LABEL_REGION]) == ("123456789012", "us-east-1")
    record = json.loads(labels[names.LABEL_RECORD])
    assert (record["instance_type"], record["tags"]["Name"]) == ("t3.nano", "web")
    volume = plane.engine.api.inspect_volume(f"oblako-ec2-{typical}")
    assert volume["Labels"]["oblako.ec2.instance-id"] == typical


def test_its_root_volume_is_mounted_at_ebs(plane: Plane, typical: str) -> None:
    mounts = [(m["Type"], m["Name"], m["Destination"], m["RW"]) for m in inspect(plane, typical)["Mounts"]]
    assert mounts == [("volume", f"oblako-ec2-{typical}", "/ebs", True)]


def test_it_is_not_privileged_and_does_not_see_the_engine(plane: Plane, typical: str) -> None:
    config = inspect(plane, typical)["HostConfig"]
    assert config["Privileged"] is False
    assert not config["CapAdd"]
    assert config["PidMode"] == ""
    assert config["NetworkMode"] not in ("host", f"container:{typical}")
    assert not config["Devices"]
    code, text = plane.execute(typical, "sh", "-c", "ls -d /var/run/docker.sock /run/docker.sock /run/podman")
    assert code != 0, text


def test_its_ports_are_published_on_loopback_alone(plane: Plane, typical: str) -> None:
    plane.execute(typical, "sh", "-c", "echo hello > /ebs/index.html; httpd -p 8888 -h /ebs")
    ports = {port["container_port"]: port for port in plane.seen(typical)["ports"]}
    assert sorted(ports) == [80, 8888]
    assert all(20000 <= port["host_port"] <= 29999 for port in ports.values())
    live = inspect(plane, typical)["NetworkSettings"]["Ports"]
    for number, port in ports.items():
        assert live[f"{number}/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": str(port["host_port"])}]

    def page(host: str) -> bytes:
        with socket.create_connection((host, ports[8888]["host_port"]), timeout=2) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = b""
            while piece := connection.recv(4096):
                answer += piece
        return answer

    eventually(lambda: b"hello" in page("127.0.0.1"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing; tells the address of this host's own
        own = probe.getsockname()[0]
    if own != "127.0.0.1":
        with pytest.raises(OSError):
            page(own)


def test_ports_are_kept_over_stop_and_start(plane: Plane) -> None:
    instance_id = plane.run(TagSpecifications=tagged(oblako_publish="8888"))
    before = plane.seen(instance_id)["ports"]
    plane.client().stop_instances(InstanceIds=[instance_id])
    plane.until(instance_id, "stopped")
    other = plane.run(TagSpecifications=tagged(oblako_publish="8888"))
    assert plane.seen(other)["ports"][0]["host_port"] != before[0]["host_port"], (
        "given away while its owner was stopped"
    )
    plane.client().start_instances(InstanceIds=[instance_id])
    plane.until(instance_id, "running")
    assert plane.seen(instance_id)["ports"] == before
    live = inspect(plane, instance_id)["NetworkSettings"]["Ports"]["8888/tcp"]
    assert live[0]["HostPort"] == str(before[0]["host_port"])


def test_cpu_and_memory_are_the_instance_types_clipped_to_the_host(plane: Plane, typical: str) -> None:
    info = plane.engine.api.info()
    cpus, memory = info["NCPU"], info["MemTotal"] >> 20
    config = inspect(plane, typical)["HostConfig"]
    assert (config["NanoCpus"], config["Memory"]) == (int(min(2, cpus) * 1e9), min(512, memory) << 20)
    big = plane.run(InstanceType="m5.24xlarge")
    config = inspect(plane, big)["HostConfig"]
    assert (config["NanoCpus"], config["Memory"]) == (int(cpus * 1e9), memory << 20)


def test_its_host_name_is_made_of_its_private_address(plane: Plane, typical: str) -> None:
    address = plane.describe(typical)["PrivateIpAddress"]
    assert plane.execute(typical, "hostname")[1].strip() == "ip-" + address.replace(".", "-")


def test_a_command_of_its_own_is_run(plane: Plane) -> None:
    command = json.dumps(["sh", "-c", "echo started > /ebs/said; exec sleep 1000"])
    instance_id = plane.run(TagSpecifications=tagged(oblako_command=command))
    eventually(lambda: plane.read(instance_id, "/ebs/said") == "started\n")


def test_an_images_own_entrypoint_is_kept(plane: Plane, image_with: Callable[..., str]) -> None:
    image = image_with("entry", 'ENTRYPOINT ["/bin/sh", "-c", "echo mine > /ebs/said; exec sleep 1000"]')
    instance_id = plane.run(ImageId=image)
    eventually(lambda: plane.read(instance_id, "/ebs/said") == "mine\n")
    raw = inspect(plane, instance_id)
    assert raw["Config"]["Entrypoint"] == ["/bin/sh", "-c", "echo mine > /ebs/said; exec sleep 1000"]
    assert raw["HostConfig"]["Init"] is True


def test_an_images_init_system_is_process_1_itself(plane: Plane, image_with: Callable[..., str]) -> None:
    init = "printf '%s' '#!/bin/sh\ntrap exit TERM\nwhile :; do sleep 0.1; done\n' > /sbin/init; chmod 755 /sbin/init"
    image = image_with("init", 'CMD ["/sbin/init"]', script=f"mkdir -p /sbin; {init}")
    instance_id = plane.run(ImageId=image)
    raw = inspect(plane, instance_id)
    assert raw["HostConfig"]["Init"] is False
    assert raw["Config"]["Cmd"] == ["/sbin/init"]
    assert "/sbin/init" in plane.read(instance_id, "/proc/1/cmdline")


def test_an_image_with_a_shell_for_a_command_stays_up(plane: Plane, typical: str) -> None:
    raw = inspect(plane, typical)
    assert raw["HostConfig"]["Init"] is True
    assert raw["Config"]["Cmd"] == ["sleep", "infinity"]


def test_registered_image_runs_the_container_image_of_its_location(
    plane: Plane, image_with: Callable[..., str]
) -> None:
    image = image_with("registered", "ENV WHO=registered")
    ami = plane.client().register_image(Name="mine", ImageLocation=image)["ImageId"]
    instance_id = plane.run(ImageId=ami)
    assert inspect(plane, instance_id)["Config"]["Image"] == image
    assert plane.describe(instance_id)["ImageId"] == ami


def gone(plane: Plane, instance_id: str) -> str:
    """Wait for the end of a launch that can't work: nothing half-made is left. Its StateReason's message."""
    plane.until(instance_id, "terminated", 60)
    assert plane.container(instance_id) is None
    assert names.root_volume_name(instance_id) not in plane.volumes()
    reason = plane.describe(instance_id)["StateReason"]
    assert reason["Code"] == "Client.InternalError"
    return str(reason["Message"])


def test_an_image_that_cant_be_had_ends_terminated_and_says_why(plane: Plane) -> None:
    ids = plane.launch(count=3, ImageId="127.0.0.1:1/oblako/no-such:1")
    for instance_id in ids:
        message = gone(plane, instance_id)
        assert "127.0.0.1:1/oblako/no-such:1" in message
        assert "name one that is here" in message


def test_a_command_that_the_image_lacks_shows_on_the_console(plane: Plane) -> None:
    (instance_id,) = plane.launch(TagSpecifications=tagged(oblako_command='["no-such-command"]'))
    plane.until(instance_id, "stopped")
    assert "exit code 127" in plane.reason(instance_id)
    assert "no-such-command" in plane.client().get_console_output(InstanceId=instance_id)["Output"]


def test_a_port_that_is_taken_ends_terminated_and_says_which(plane: Plane) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (instance_id,) = plane.launch(TagSpecifications=tagged(oblako_publish=f"{port}:80"))
        assert f"port {port} on 127.0.0.1 is in use" in gone(plane, instance_id)


def test_a_port_of_another_instance_is_refused(plane: Plane, typical: str) -> None:
    port = plane.seen(typical)["ports"][0]["host_port"]
    (instance_id,) = plane.launch(TagSpecifications=tagged(oblako_publish=f"{port}:80"))
    assert f"port {port} on 127.0.0.1 is in use" in gone(plane, instance_id)
    assert plane.state(typical) == "running"


def test_a_port_that_is_taken_meanwhile_leaves_the_start_stopped_and_its_data_whole(plane: Plane) -> None:
    instance_id = plane.run(TagSpecifications=tagged(oblako_publish="80"))
    plane.execute(instance_id, "sh", "-c", "echo kept > /ebs/file")
    port = plane.seen(instance_id)["ports"][0]["host_port"]
    plane.client().stop_instances(InstanceIds=[instance_id])
    plane.until(instance_id, "stopped")
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        plane.client().start_instances(InstanceIds=[instance_id])
        eventually(lambda: "in use" in plane.reason(instance_id) and plane.state(instance_id) == "stopped")
    plane.client().start_instances(InstanceIds=[instance_id])
    plane.until(instance_id, "running")
    assert plane.read(instance_id, "/ebs/file") == "kept\n"


def test_one_that_ends_at_once_is_stopped_and_not_started_again_and_again(plane: Plane) -> None:
    command = json.dumps(["sh", "-c", "echo x >> /ebs/starts; exit 7"])
    (instance_id,) = plane.launch(TagSpecifications=tagged(oblako_command=command))
    plane.until(instance_id, "stopped")
    assert "exit code 7" in plane.reason(instance_id)
    from oblako_magic.engine import streams

    assert streams.read_file(plane.engine, instance_id, "/ebs/starts") == b"x\n"


def test_instances_that_are_told_to_have_no_container_have_none(plane: Plane) -> None:
    instance_id = plane.run(TagSpecifications=tagged(oblako_backed="false"))
    assert plane.container(instance_id) is None
    assert names.root_volume_name(instance_id) not in plane.volumes()
    assert plane.seen(instance_id)["backed"] is False
    for call, state in (("stop", "stopped"), ("start", "running"), ("terminate", "terminated")):
        getattr(plane.client(), f"{call}_instances")(InstanceIds=[instance_id])
        plane.until(instance_id, state)
        assert plane.container(instance_id) is None


def test_a_crowd_gets_one_container_each(plane: Plane) -> None:
    ids = plane.launch(count=8, ImageId=AMI, TagSpecifications=tagged(oblako_publish="80"))
    for instance_id in ids:
        plane.until(instance_id, "running", 60)
    ports = [plane.seen(instance_id)["ports"][0]["host_port"] for instance_id in ids]
    assert len(set(ports)) == 8
    assert all(inspect(plane, instance_id)["State"]["Running"] for instance_id in ids)
    assert len({plane.describe(instance_id)["PrivateIpAddress"] for instance_id in ids}) == 8


def test_settings_change_what_containers_are_like(engine_backend: Engine, new_plane: Callable[..., Any]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.2", 0))
        port = probe.getsockname()[1]
    settings = {
        "OBLAKO_EC2_LIMITS": "off",
        "OBLAKO_PUBLISH_HOST": "127.0.0.2",
        "OBLAKO_PUBLISH_PORTS": f"{port}-{port}",
    }
    with new_plane(engine_backend, **settings) as own:
        instance_id = own.run(InstanceType="t3.nano", TagSpecifications=tagged(oblako_publish="80"))
        raw = inspect(own, instance_id)
        assert (raw["HostConfig"]["NanoCpus"], raw["HostConfig"]["Memory"]) == (0, 0)
        assert raw["NetworkSettings"]["Ports"]["80/tcp"] == [{"HostIp": "127.0.0.2", "HostPort": str(port)}]
        (second,) = own.launch(TagSpecifications=tagged(oblako_publish="80"))
        own.until(second, "terminated")
        assert "OBLAKO_PUBLISH_PORTS" in own.reason(second)
        # The port is free again once its owner is gone.
        own.client().terminate_instances(InstanceIds=[instance_id])
        own.until(instance_id, "terminated")
        assert own.seen(own.run(TagSpecifications=tagged(oblako_publish="80")))["ports"][0]["host_port"] == port
