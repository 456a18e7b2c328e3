"""Ec2 on a real engine: launch, wait, change, look."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.request
from typing import Any

import pytest

from oblako_magic import Ec2, names
from oblako_magic.engine import build
from oblako_magic.errors import AwsError, OblakoError, TargetError, WaitError
from oblako_magic.handles import Instance, InstanceList
from tests.support.plane import ControlPlane, eventually
from tests.support.world import gone, running, runs, started_at

NO_IMAGE = "localhost:1/oblako/no-such-image:1"


class TestLaunch:
    def test_run_waits_for_the_container(self, shared_control_plane: ControlPlane, cloud: Ec2) -> None:
        (instance,) = cloud.run(name="one", instance_type="t3.small", tags={"Env": "dev"})
        assert runs(shared_control_plane, instance.id)
        assert (instance.state, instance.name, instance.type) == ("running", "one", "t3.small")
        assert instance.image == build.TINY_IMAGE
        assert instance.tags["Env"] == "dev"
        assert instance.container == names.container_name(instance.id)
        container = shared_control_plane.container(instance.id)
        assert container is not None
        assert instance.container_id == container["Id"]
        assert instance.terminate().state == "terminated"
        assert shared_control_plane.container(instance.id) is None

    def test_several(self, shared_control_plane: ControlPlane, cloud: Ec2) -> None:
        changes: list[list[str]] = []
        instances = cloud.run(count=3, name="many", on_change=lambda them: changes.append([i.state for i in them]))
        assert instances.states == ["running"] * 3
        assert all(runs(shared_control_plane, instance_id) for instance_id in instances.ids)
        assert changes[-1] == ["running"] * 3
        cloud.change("terminate", instances)
        gone(shared_control_plane, *instances.ids)

    def test_without_waiting(self, shared_control_plane: ControlPlane, cloud: Ec2) -> None:
        (instance,) = cloud.run(wait=False)
        assert instance.state in ("pending", "running")
        assert instance.wait().state == "running"
        assert runs(shared_control_plane, instance.id)
        instance.terminate()

    def test_run_instance_and_its_kin(self, shared_control_plane: ControlPlane, cloud: Ec2) -> None:
        """The surface of the system that this follows: ids in, ids out."""
        cloud.get_client().create_key_pair(KeyName="mine")
        instance_id = cloud.run_instance(build.TINY_IMAGE, "t3.nano", KeyName="mine")
        assert isinstance(instance_id, str)
        running(shared_control_plane, instance_id)
        found = cloud.instance_container(instance_id)
        assert found is not None
        assert found.running
        assert instance_id in [container.instance_id for container in cloud.list_instance_containers()]
        cloud.stop_instance(instance_id)
        assert not runs(shared_control_plane, instance_id)
        cloud.start_instance(instance_id)
        assert runs(shared_control_plane, instance_id)
        before = started_at(shared_control_plane, instance_id)
        cloud.reboot_instance(instance_id)
        assert runs(shared_control_plane, instance_id)
        assert started_at(shared_control_plane, instance_id) != before
        cloud.terminate_instance(instance_id)
        assert shared_control_plane.container(instance_id) is None
        assert cloud.instance_container(instance_id) is None

    def test_simulated(self, shared_control_plane: ControlPlane, cloud: Ec2) -> None:
        (instance,) = cloud.run(name="paper", backed=False, user_data="#!/bin/sh\n")
        other = cloud.run_instance(backed=False, TagSpecifications=[_tags(Name="paper-2")])
        try:
            assert instance.state == "running"
            assert not instance.backed
            assert "simulated" in repr(instance)
            assert "simulated" in instance.user_data
            assert cloud.get(other).wait().tags["Name"] == "paper-2"
            assert instance.stop().state == "stopped"
            assert instance.start().state == "running"
            assert instance.reboot().state == "running"
            for instance_id in (instance.id, other):
                assert shared_control_plane.container(instance_id) is None
                assert names.root_volume_name(instance_id) not in shared_control_plane.volumes()
            with pytest.raises(OblakoError, match="simulated"):
                cloud.logs(instance)
            assert cloud.stats([instance]) == []
        finally:
            cloud.change("terminate", [instance, cloud.get(other)])
        assert cloud.get(other).state == "terminated"

    def test_a_launch_that_can_not_work(self, shared_control_plane: ControlPlane, cloud: Ec2) -> None:
        with pytest.raises(WaitError) as caught:
            cloud.run(image=NO_IMAGE, name="doomed", count=2)
        assert NO_IMAGE in str(caught.value)
        assert "\n" not in str(caught.value)
        first, second = caught.value.instances
        cloud.wait([first, second], "terminated", timeout=20)
        assert NO_IMAGE in first.reason
        assert first.reason_code == "Client.InternalError"
        gone(shared_control_plane, first.id, second.id)

    def test_a_wait_that_runs_out(self, cloud: Ec2) -> None:
        (instance,) = cloud.run()
        begun = time.monotonic()
        with pytest.raises(WaitError, match=r"not stopped within 0\.3 s.*is running") as caught:
            cloud.wait([instance], "stopped", timeout=0.3)
        assert time.monotonic() - begun < 5
        assert caught.value.instances == [instance]
        instance.terminate()
        with pytest.raises(WaitError, match="terminated"):
            cloud.wait([instance], "stopped", timeout=30)

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"count": 0}, "1 to 1000"),
            ({"count": 2, "publish": ["8080:80"]}, "share a host port"),
            ({"publish": ["http"]}, "not a port"),
            ({"publish": ["70000"]}, "1 to 65535"),
            ({"subnet": "subnet-0123456789abcdef0"}, "subnet-0123456789abcdef0"),
            ({"security_groups": ["sg-0123456789abcdef0"]}, "sg-0123456789abcdef0"),
            ({"profile": "no-such-profile"}, "no-such-profile"),
        ],
    )
    def test_refused_before_anything_is_made(
        self, shared_control_plane: ControlPlane, cloud: Ec2, arguments: dict[str, Any], words: str
    ) -> None:
        before = {container["Id"] for container in shared_control_plane.containers()}
        with pytest.raises(OblakoError, match=words):
            cloud.run(name="refused", **arguments)
        assert cloud.instances(all=True, filters=["tag:Name=refused"]) == []
        assert {container["Id"] for container in shared_control_plane.containers()} == before

    def test_aws_errors_carry_code_and_operation(self, cloud: Ec2) -> None:
        with pytest.raises(AwsError) as caught:
            cloud.get("i-0123456789abcdef0")
        assert (caught.value.code, caught.value.operation) == ("InvalidInstanceID.NotFound", "DescribeInstances")
        assert "i-0123456789abcdef0" in str(caught.value)
        with pytest.raises(OblakoError, match="no AWS service"):
            cloud.get_client("no-such-service")
        with pytest.raises(OblakoError, match="did you mean") as near:
            cloud.get_client("ec22")
        assert "ec2" in str(near.value)
        assert len(str(near.value)) < 150


def _tags(**pairs: str) -> dict[str, Any]:
    return {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in pairs.items()]}


class TestLook:
    def test_find_by_what_a_person_types(self, cloud: Ec2) -> None:
        first = cloud.run(name="find-a", backed=False, tags={"Role": "x"})[0]
        second = cloud.run(name="find-b", backed=False, tags={"Role": "x"})[0]
        third = cloud.run(name="find-c", backed=False, tags={"Role": "y"})[0]
        try:
            assert cloud.find(["find-a", second.id]).ids == [first.id, second.id]
            assert set(cloud.find(["find-*"], filters=["tag:Role=x"]).ids) == {first.id, second.id}
            assert set(cloud.find([], filters=["tag:Role=x,y"]).ids) == {first.id, second.id, third.id}
            assert cloud.find([]) == []
            assert cloud.find_one(third.id[:12]).id == third.id
            with pytest.raises(TargetError, match="2 instances, and one is wanted"):
                cloud.find_one("find-[ab]")
            with pytest.raises(TargetError, match="tag:Role=z"):
                cloud.find([], filters=["tag:Role=z"])
            third.terminate()
            with pytest.raises(TargetError):
                cloud.find(["find-c"])
            assert cloud.find(["find-c"], terminated=True).ids == [third.id]
            assert third.id not in cloud.instances().ids
            assert third.id in cloud.instances(all=True).ids
            seen = dict(cloud.cached())
            assert seen[first.id] == "find-a"
        finally:
            cloud.change("terminate", cloud.find(["find-*"]))

    def test_handles_are_brought_up_to_date_in_place(self, cloud: Ec2) -> None:
        (instance,) = cloud.run(backed=False)
        client = cloud.get_client()
        client.create_tags(Resources=[instance.id], Tags=[{"Key": "Name", "Value": "later"}])
        client.stop_instances(InstanceIds=[instance.id])
        assert instance.name == ""
        assert instance.refresh() is instance
        assert (instance.name, instance.state) == ("later", "stopped")
        ghost = Instance("i-0123456789abcdef0", state="running", ec2=cloud)
        assert cloud.refresh(InstanceList([instance, ghost])).states == ["stopped", "terminated"]
        instance.terminate()

    def test_more_than_a_page(self, cloud: Ec2) -> None:
        instances = InstanceList()
        for _ in range(105):
            instances.append(cloud.run(backed=False, tags={"Many": "yes"}, wait=False)[0])
        try:
            assert set(cloud.instances(filters=["tag:Many=yes"]).ids) == set(instances.ids)
            assert set(cloud.refresh(instances).states) == {"running"}
        finally:
            cloud.change("terminate", instances)
        assert set(instances.states) == {"terminated"}

    def test_images(self, cloud: Ec2) -> None:
        client = cloud.get_client()
        client.register_image(Name="mine", ImageLocation=build.TINY_IMAGE)
        client.register_image(Name="not-here", ImageLocation=NO_IMAGE)
        rows = {row["name"]: row for row in cloud.images()}
        assert rows["(default)"]["image"] == build.TINY_IMAGE
        assert rows["(default)"]["local"]
        assert rows["mine"]["local"]
        assert rows["mine"]["image_id"].startswith("ami-")
        assert not rows["not-here"]["local"]
        assert any(row["image"] == "ubuntu:24.04" for row in rows.values())
        assert all({"image_id", "name", "image", "local", "description"} <= set(row) for row in rows.values())

    def test_stats(self, cloud: Ec2) -> None:
        (busy,) = cloud.run(name="busy", instance_type="t3.nano")
        (idle,) = cloud.run(name="idle", instance_type="t3.nano")
        busy.exec("(while :; do :; done) > /dev/null 2>&1 & head -c 20000000 /dev/zero > /dev/shm/ballast")
        idle_now, busy_now = cloud.stats([idle, busy])
        assert (idle_now.instance_id, busy_now.name) == (idle.id, "busy")
        assert busy_now.cpu_percent > 20 > idle_now.cpu_percent
        assert busy_now.memory_bytes > idle_now.memory_bytes + 15_000_000
        assert busy_now.memory_limit == 512 << 20
        assert busy_now.pids >= 2
        cloud.change("stop", [idle])
        assert [one.instance_id for one in cloud.stats([idle, busy])] == [busy.id]
        cloud.change("terminate", [idle, busy])

    def test_one_that_is_terminated_is_said_to_be(self, cloud: Ec2) -> None:
        (ended,) = cloud.run(name="ended", backed=False)
        ended.terminate()
        with pytest.raises(TargetError, match=f"{ended.id} ended is terminated; %ec2 show {ended.id}"):
            cloud.find([ended.id])
        assert cloud.find_one(ended.id, terminated=True).state == "terminated"
        with pytest.raises(TargetError, match="no instance"):
            cloud.find_one("nobody-has-this-name", terminated=True)


class TestOutput:
    def talker(self, cloud: Ec2, script: str) -> Instance:
        command = json.dumps(["/bin/sh", "-c", script])
        return cloud.run(tags={names.TAG_COMMAND: command})[0]

    def test_logs_and_console(self, cloud: Ec2) -> None:
        instance = self.talker(cloud, "for i in 1 2 3; do echo line $i; done; echo err >&2; exec sleep 100000")
        eventually(lambda: cloud.logs(instance).count("\n") == 4, what="the output is there")
        text = cloud.logs(instance)
        assert "err\n" in text
        assert [line for line in text.splitlines() if line != "err"] == ["line 1", "line 2", "line 3"]
        assert instance.logs(tail=1).count("\n") == 1
        pieces: list[str] = []
        cloud.logs(instance, on_output=pieces.append)
        assert "line 3" in "".join(pieces)
        assert "line 2" in instance.console()
        instance.terminate()

    def test_follow_until_it_stops(self, cloud: Ec2) -> None:
        instance = self.talker(cloud, "n=0; while :; do n=$((n+1)); echo tick $n; sleep 0.2; done")
        ticks = threading.Event()
        pieces: list[str] = []

        def listen(text: str) -> None:
            pieces.append(text)
            if "tick 3" in text:
                ticks.set()

        def stop() -> None:
            assert ticks.wait(20)
            instance.stop(wait=False)

        thread = threading.Thread(target=stop)
        thread.start()
        text = cloud.logs(instance, follow=True, on_output=listen)
        thread.join()
        assert "tick 1\n" in text
        assert len(pieces) >= 3
        assert instance.wait("stopped").state == "stopped"
        assert "tick 3" in instance.logs()
        instance.terminate()

    def test_user_data_and_its_output(self, cloud: Ec2) -> None:
        script = "#!/bin/sh\necho begin\nsleep 0.5\necho a failure\nexit 3\n"
        (instance,) = cloud.run(user_data=script)
        pieces: list[str] = []
        cloud.wait_user_data(instance, on_output=pieces.append, timeout=30)
        assert instance.user_data == "failed (exit 3)"
        assert "".join(pieces) == "begin\na failure\n"
        assert instance.exec("cat /var/log/cloud-init-output.log").stdout == "begin\na failure\n"
        eventually(lambda: "a failure" in instance.console(), what="the console has it")
        # When it is over, the whole of it is told at once.
        again: list[str] = []
        cloud.wait_user_data(instance, on_output=again.append, timeout=30)
        assert "".join(again) == "begin\na failure\n"
        instance.terminate()

    def test_user_data_that_takes_too_long(self, cloud: Ec2) -> None:
        (instance,) = cloud.run(user_data="#!/bin/sh\nsleep 1000\n")
        with pytest.raises(WaitError, match="user data"):
            cloud.wait_user_data(instance, timeout=0.3)
        instance.terminate()


def fetch(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/etc/hostname", timeout=5) as answer:
        return str(answer.read().decode())


def answers(port: int) -> str:
    try:
        return fetch(port)
    except OSError:
        return ""


WEB = {names.TAG_COMMAND: json.dumps(["httpd", "-f", "-p", "8000", "-h", "/"])}
"""Tags of an instance whose process 1 is a web server."""


class TestPorts:
    def test_they_answer_on_loopback_and_keep_their_number(
        self, shared_control_plane: ControlPlane, cloud: Ec2
    ) -> None:
        (instance,) = cloud.run(name="web", publish=["8000"], tags=WEB)
        (port,) = instance.ports
        assert port.host == "127.0.0.1"
        hostname = instance.exec("hostname").stdout
        eventually(lambda: answers(port.host_port) == hostname, what="answers")
        container = shared_control_plane.container(instance.id)
        assert container is not None
        bindings = container["NetworkSettings"]["Ports"]["8000/tcp"]
        assert bindings == [{"HostIp": "127.0.0.1", "HostPort": str(port.host_port)}]
        (second,) = cloud.run(publish=["8000"], tags=WEB)
        assert second.ports[0].host_port != port.host_port
        for _ in range(2):
            instance.stop()
            assert answers(port.host_port) == ""
            instance.start()
            assert instance.ports == [port]
            eventually(lambda: answers(port.host_port) == hostname, what="answers again")
        cloud.change("terminate", [instance, second])
        eventually(lambda: not _listens(port.host_port), what="the port is free again")

    def test_a_port_of_ones_own_choice(self, cloud: Ec2) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            number = probe.getsockname()[1]
        (instance,) = cloud.run(publish=[f"{number}:8000"], tags=WEB)
        assert [mapping.host_port for mapping in instance.ports] == [number]
        eventually(lambda: answers(number), what="answers")
        with pytest.raises(WaitError, match=rf"port {number}.*in use"):
            cloud.run(publish=[f"{number}:8000"])
        instance.terminate()

    def test_a_taken_port(self, shared_control_plane: ControlPlane, cloud: Ec2) -> None:
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()
            number = server.getsockname()[1]
            with pytest.raises(WaitError, match=rf"port {number}.*in use") as caught:
                cloud.run(publish=[f"{number}:80"])
        (instance,) = caught.value.instances
        cloud.wait([instance], "terminated", timeout=20)
        gone(shared_control_plane, instance.id)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class TestEndsByItself:
    def test_poweroff_inside(self, shared_control_plane: ControlPlane, cloud: Ec2) -> None:
        (instance,) = cloud.run()
        instance.exec("echo kept > /root/note")
        instance.exec("poweroff")
        instance.wait("stopped", timeout=20)
        assert not runs(shared_control_plane, instance.id)
        assert "Instance initiated shutdown" in instance.reason
        instance.start()
        assert instance.exec("cat /root/note").stdout == "kept\n"
        instance.terminate()

    def test_poweroff_terminates_where_that_is_asked_for(self, shared_control_plane: ControlPlane, cloud: Ec2) -> None:
        instance_id = cloud.run_instance(InstanceInitiatedShutdownBehavior="terminate")
        instance = cloud.get(instance_id).wait()
        instance.exec("shutdown -h now")
        instance.wait("terminated", timeout=20)
        gone(shared_control_plane, instance_id)
        assert "Instance initiated shutdown" in instance.reason


class TestStacks:
    TEMPLATE = json.dumps(
        {
            "Parameters": {"Image": {"Type": "String"}},
            "Resources": {"Web": {"Type": "AWS::EC2::Instance", "Properties": {"ImageId": {"Ref": "Image"}}}},
            "Outputs": {"Address": {"Value": {"Fn::GetAtt": ["Web", "PrivateIp"]}}},
        }
    )

    def test_deploy(self, shared_control_plane: ControlPlane, cloud: Ec2) -> None:
        events: list[str] = []
        made = cloud.deploy("deployed", self.TEMPLATE, parameters={"Image": build.TINY_IMAGE}, on_event=events.append)
        instance_id = made["Resources"]["Web"]
        assert runs(shared_control_plane, instance_id)
        assert made["StackStatus"] == events[-1] == "CREATE_COMPLETE"
        assert made["Outputs"] == {"Address": cloud.get(instance_id).private_ip}
        changed = self.TEMPLATE.replace('"Properties": {', '"Properties": {"Tags": [{"Key": "Name", "Value": "n"}], ')
        again = cloud.deploy("deployed", changed, parameters={"Image": build.TINY_IMAGE})
        assert (again["StackStatus"], again["Resources"]["Web"]) == ("UPDATE_COMPLETE", instance_id)
        assert cloud.get(instance_id).name == "n"
        cloud.get_client("cloudformation").delete_stack(StackName="deployed")
        gone(shared_control_plane, instance_id)

    def test_a_type_that_nobody_knows_is_told(self, cloud: Ec2) -> None:
        template = json.dumps({"Resources": {"A": {"Type": "AWS::EC2::Nonsense"}}})
        with pytest.raises(WaitError, match="1 of its resources could not be made"):
            cloud.deploy("nonsense", template)
        cloud.get_client("cloudformation").delete_stack(StackName="nonsense")

    def test_a_template_that_can_not_be_read(self, cloud: Ec2) -> None:
        with pytest.raises(AwsError, match="Template format error") as caught:
            cloud.deploy("unreadable", "Resources: [unclosed")
        assert caught.value.code == "ValidationError"
        with pytest.raises(AwsError, match="does not exist"):
            cloud._aws("describe_stacks", service="cloudformation", StackName="unreadable")

    def test_deploy_of_what_can_not_work(self, cloud: Ec2) -> None:
        with pytest.raises(WaitError) as caught:
            cloud.deploy("broken", self.TEMPLATE, parameters={"Image": NO_IMAGE})
        assert "ROLLBACK_COMPLETE" in str(caught.value)
        assert NO_IMAGE in str(caught.value)
        with pytest.raises(AwsError):
            cloud.deploy("nonsense", "{not a template", parameters={})
