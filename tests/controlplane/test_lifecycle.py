"""An instance from RunInstances to TerminateInstances, on each engine, as boto3's own waiters see it."""

from __future__ import annotations

import base64
import threading
from typing import Any

import pytest

from oblako_magic import names
from oblako_magic.controlplane import process
from tests.support.plane import ControlPlane, eventually

AMI = "ami-12c6146b"
pytestmark = pytest.mark.both_engines


def wait_for(client: Any, waiter: str, instance_id: str) -> None:
    client.get_waiter(waiter).wait(InstanceIds=[instance_id], WaiterConfig={"Delay": 0.1, "MaxAttempts": 300})


def launch(client: Any, **kwargs: Any) -> str:
    answer = client.run_instances(ImageId=AMI, MinCount=1, MaxCount=1, **kwargs)
    return str(answer["Instances"][0]["InstanceId"])


class States:
    """All states that DescribeInstances shows of an instance, in order, watched from beside."""

    def __init__(self, plane: ControlPlane, instance_id: str) -> None:
        self.seen: list[str] = []
        self._plane, self._id = plane, instance_id
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._end.is_set():
            state = self._plane.state(self._id)
            if state not in self.seen[-1:]:
                self.seen.append(state)

    def __enter__(self) -> States:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


def test_boto3_waiters_wait_for_what_the_engine_really_does(
    engine_backend: Any, shared_control_plane: ControlPlane
) -> None:
    plane, client = shared_control_plane, shared_control_plane.client()
    answer = client.run_instances(ImageId=AMI, MinCount=1, MaxCount=1)["Instances"][0]
    instance_id = answer["InstanceId"]
    assert answer["State"] == {"Code": 0, "Name": "pending"}
    wait_for(client, "instance_running", instance_id)
    container = plane.container(instance_id)
    assert container is not None
    assert container["State"]["Running"]

    changed = client.stop_instances(InstanceIds=[instance_id])["StoppingInstances"][0]
    assert (changed["PreviousState"]["Name"], changed["CurrentState"]["Name"]) == ("running", "stopping")
    wait_for(client, "instance_stopped", instance_id)
    stopped = plane.container(instance_id)
    assert stopped is not None
    assert (stopped["State"]["Running"], stopped["Id"]) == (False, container["Id"])

    changed = client.start_instances(InstanceIds=[instance_id])["StartingInstances"][0]
    assert (changed["PreviousState"]["Name"], changed["CurrentState"]["Name"]) == ("stopped", "pending")
    wait_for(client, "instance_running", instance_id)
    again = plane.container(instance_id)
    assert again is not None
    assert (again["State"]["Running"], again["Id"]) == (True, container["Id"])

    changed = client.terminate_instances(InstanceIds=[instance_id])["TerminatingInstances"][0]
    assert (changed["PreviousState"]["Name"], changed["CurrentState"]["Name"]) == ("running", "shutting-down")
    wait_for(client, "instance_terminated", instance_id)
    assert plane.container(instance_id) is None
    assert names.root_volume_name(instance_id) not in plane.volumes()


def test_states_pass_in_ec2s_order(engine_backend: Any, shared_control_plane: ControlPlane) -> None:
    plane, client = shared_control_plane, shared_control_plane.client()
    instance_id = launch(client)
    with States(plane, instance_id) as states:
        eventually(lambda: states.seen[-1:] == ["running"])
        client.stop_instances(InstanceIds=[instance_id])
        eventually(lambda: states.seen[-1:] == ["stopped"])
        client.start_instances(InstanceIds=[instance_id])
        eventually(lambda: states.seen[-1:] == ["running"])
        client.terminate_instances(InstanceIds=[instance_id])
        eventually(lambda: states.seen[-1:] == ["terminated"])
    full = ["pending", "running", "stopping", "stopped", "pending", "running", "shutting-down", "terminated"]
    # A fast engine passes through a transition between two looks; none may be out of order or made up.
    rest = iter(full)
    assert all(state in rest for state in states.seen), states.seen


def test_what_is_on_the_ebs_root_survives_stop_start_and_reboot(
    engine_backend: Any, shared_control_plane: ControlPlane
) -> None:
    plane, client = shared_control_plane, shared_control_plane.client()
    instance_id = launch(client)
    wait_for(client, "instance_running", instance_id)
    assert plane.execute(instance_id, "sh", "-c", "echo kept > /ebs/file") == (0, "")
    client.stop_instances(InstanceIds=[instance_id])
    wait_for(client, "instance_stopped", instance_id)
    client.start_instances(InstanceIds=[instance_id])
    wait_for(client, "instance_running", instance_id)
    assert plane.execute(instance_id, "cat", "/ebs/file") == (0, "kept\n")

    before = plane.container(instance_id)
    client.reboot_instances(InstanceIds=[instance_id])

    def rebooted() -> bool:
        now = plane.container(instance_id)
        assert before is not None
        assert now is not None
        return bool(now["State"]["Running"] and now["State"]["StartedAt"] != before["State"]["StartedAt"])

    eventually(rebooted)
    eventually(lambda: plane.state(instance_id) == "running")
    assert plane.execute(instance_id, "cat", "/ebs/file") == (0, "kept\n")


def test_user_data_runs_once_as_root_and_is_on_the_console(
    engine_backend: Any, shared_control_plane: ControlPlane
) -> None:
    plane, client = shared_control_plane, shared_control_plane.client()
    script = "#!/bin/sh\nid -u >> /ebs/ran\necho hello from user data\n"
    instance_id = launch(client, UserData=script)
    wait_for(client, "instance_running", instance_id)
    eventually(lambda: plane.execute(instance_id, "cat", "/ebs/ran") == (0, "0\n"))
    eventually(lambda: "hello from user data" in client.get_console_output(InstanceId=instance_id).get("Output", ""))
    assert "hello from user data" in plane.execute(instance_id, "cat", "/var/log/cloud-init-output.log")[1]
    runtime = process.find(plane.settings)
    assert runtime is not None

    def status() -> str:
        rows = process.call(runtime, "GET", "/instances")["instances"]
        return next(str(row["user_data"]) for row in rows if row["id"] == instance_id)

    eventually(lambda: status() == "done")
    client.stop_instances(InstanceIds=[instance_id])
    wait_for(client, "instance_stopped", instance_id)
    client.start_instances(InstanceIds=[instance_id])
    wait_for(client, "instance_running", instance_id)
    assert plane.execute(instance_id, "cat", "/ebs/ran") == (0, "0\n")
    kept = client.describe_instance_attribute(InstanceId=instance_id, Attribute="userData")["UserData"]["Value"]
    assert base64.b64decode(kept).decode() == script


def test_instances_end_by_themselves_and_the_api_knows_why(
    engine_backend: Any, shared_control_plane: ControlPlane
) -> None:
    plane, client = shared_control_plane, shared_control_plane.client()
    instance_id = launch(client)
    wait_for(client, "instance_running", instance_id)
    plane.execute(instance_id, "kill", "1")
    eventually(lambda: plane.state(instance_id) == "stopped")
    found = client.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]
    assert found["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"


def test_instances_reach_the_endpoint_by_the_hosts_name(
    engine_backend: Any, shared_control_plane: ControlPlane
) -> None:
    plane, client = shared_control_plane, shared_control_plane.client()
    instance_id = launch(client)
    wait_for(client, "instance_running", instance_id)
    port = plane.endpoint.rpartition(":")[2]
    url = f"http://{names.HOST_ALIAS}:{port}/_oblako/v1/hello"

    def asked() -> bool:
        code, text = plane.execute(instance_id, "wget", "-q", "-O", "-", "--header", "X-Oblako: 1", url)
        return code == 0 and '"service": "oblako_magic"' in text

    eventually(asked, what=f"{url} answers in the instance")
