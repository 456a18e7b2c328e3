"""User data that is a script: once, at the first boot, as root, and its output where EC2 has it."""

from __future__ import annotations

import base64

import pytest

from oblako_magic import names
from oblako_magic.guest import user_data
from tests.controlplane.planes import Plane
from tests.support.plane import eventually
from tests.support.sweep import RUN


def ended(plane: Plane, instance_id: str) -> str:
    """Wait until the script has ended; what is said of it."""

    def status() -> str:
        text = str(plane.seen(instance_id)["user_data"])
        return "" if text in ("waiting", "running") else text

    return eventually(status, what="the user data has ended")


def test_it_runs_as_root_in_the_root_folder_with_both_streams_in_the_log(plane: Plane) -> None:
    instance_id = plane.run(UserData="#!/bin/sh\nid -u; pwd; echo to stderr >&2\n")
    assert ended(plane, instance_id) == "done"
    assert plane.read(instance_id, user_data.OUTPUT).split("\n") == ["0", "/", "to stderr", ""]
    console = plane.client().get_console_output(InstanceId=instance_id)["Output"]
    assert "to stderr" in console


def test_a_failure_shows_with_its_exit_code_and_the_instance_runs_on(plane: Plane) -> None:
    instance_id = plane.run(UserData="#!/bin/sh\necho about to fail\nexit 42\n")
    assert ended(plane, instance_id) == "failed (exit 42)"
    assert plane.state(instance_id) == "running"
    assert "about to fail" in plane.read(instance_id, user_data.OUTPUT)


def test_an_interpreter_that_is_not_there_fails_and_says_so(plane: Plane) -> None:
    instance_id = plane.run(UserData="#!/no/such/interpreter\ntrue\n")
    assert ended(plane, instance_id) == "failed (exit 127)"
    assert plane.state(instance_id) == "running"


def test_it_is_not_run_again_by_reboot_or_start(plane: Plane) -> None:
    client = plane.client()
    instance_id = plane.run(UserData="#!/bin/sh\necho x >> /ebs/runs\n")
    assert ended(plane, instance_id) == "done"
    before = plane.container(instance_id)
    assert before is not None
    client.reboot_instances(InstanceIds=[instance_id])
    eventually(lambda: (plane.container(instance_id) or before)["State"]["StartedAt"] != before["State"]["StartedAt"])
    client.stop_instances(InstanceIds=[instance_id])
    plane.until(instance_id, "stopped")
    client.start_instances(InstanceIds=[instance_id])
    plane.until(instance_id, "running")
    # And not by a new container on the same volume.
    plane.engine.api.remove_container(names.container_name(instance_id), force=True)
    eventually(lambda: plane.seen(instance_id)["impaired"])
    client.start_instances(InstanceIds=[instance_id])
    eventually(lambda: not plane.seen(instance_id)["impaired"])
    plane.until(instance_id, "running")
    assert plane.read(instance_id, "/ebs/runs") == "x\n"


def test_one_that_stops_while_it_runs_is_told(plane: Plane) -> None:
    instance_id = plane.run(UserData="#!/bin/sh\ntouch /ebs/begun; sleep 1000\n")
    eventually(lambda: plane.execute(instance_id, "ls", "/ebs/begun")[0] == 0)
    plane.engine.api.kill(names.container_name(instance_id))
    assert ended(plane, instance_id) in ("failed (the instance stopped)", "failed (exit 137)")
    plane.until(instance_id, "stopped")


def test_poweroff_at_its_end_stops_the_instance(plane: Plane) -> None:
    (instance_id,) = plane.launch(UserData="#!/bin/sh\necho worked > /ebs/result\nkill -TERM 1\n")
    plane.until(instance_id, "stopped")
    from oblako_magic.engine import streams

    assert streams.read_file(plane.engine, instance_id, "/ebs/result") == b"worked\n"


def test_megabytes_of_output_are_all_there(plane: Plane) -> None:
    script = "#!/bin/sh\ni=0; while [ $i -lt 20 ]; do head -c 100000 /dev/zero | tr '\\0' x; echo; i=$((i+1)); done\n"
    instance_id = plane.run(UserData=script)
    assert ended(plane, instance_id) == "done"
    assert plane.execute(instance_id, "wc", "-c", user_data.OUTPUT)[1].split()[0] == str(20 * 100_001)
    assert 0 < len(plane.client().get_console_output(InstanceId=instance_id)["Output"]) <= 65536


def test_it_runs_on_an_instance_of_an_image_made_of_another_instance(plane: Plane, run_label: str) -> None:
    first = plane.run(UserData="#!/bin/sh\nexit 5\n")
    assert ended(plane, first) == "failed (exit 5)"
    image = f"oblako/test-made-{run_label}:1"
    plane.engine.api.commit(names.container_name(first), *image.split(":"), changes=f"LABEL {RUN}={run_label}")
    try:
        second = plane.run(ImageId=image, UserData="#!/bin/sh\necho x >> /ebs/runs\n")
        assert ended(plane, second) == "done"
        assert plane.read(second, "/ebs/runs") == "x\n"
    finally:
        plane.engine.api.remove_image(image, force=True)


@pytest.mark.parametrize("data", ["#cloud-config\nruncmd: [touch /ebs/ran]\n", "just text"])
def test_what_is_no_script_is_not_run_and_said_so(plane: Plane, data: str) -> None:
    instance_id = plane.run(UserData=data)
    assert plane.seen(instance_id)["user_data"].startswith("not run")
    assert plane.read(instance_id, user_data.OUTPUT) == ""


def test_kill_9_while_a_crowd_begins_runs_it_once_on_each(plane: Plane) -> None:
    script = "#!/bin/sh\necho x >> /ebs/runs\nwhile [ ! -e /ebs/go ]; do sleep 0.1; done\n"
    ids = plane.launch(count=6, UserData=script)

    def begun(instance_id: str) -> bool:
        container = plane.container(instance_id)
        return container is not None and container["State"]["Running"] and plane.read(instance_id, "/ebs/runs") != ""

    # Some have run it for a moment then, some begin it just now, some wait.
    eventually(lambda: any(begun(instance_id) for instance_id in ids))
    plane.kill()
    plane.start()
    for instance_id in ids:
        plane.until(instance_id, "running")
        plane.execute(instance_id, "touch", "/ebs/go")
    assert {ended(plane, instance_id) for instance_id in ids} == {"done"}
    assert [plane.read(instance_id, "/ebs/runs") for instance_id in ids] == ["x\n"] * 6


@pytest.mark.parametrize(
    ("encoded", "data"),
    [
        (None, b""),
        ("", b""),
        (base64.b64encode(b"#!/bin/sh\n").decode(), b"#!/bin/sh\n"),
        ("#!/bin/sh\n", b"#!/bin/sh\n"),
        ("bare text", b"bare text"),
    ],
)
def test_decode(encoded: object, data: bytes) -> None:
    assert user_data.decode(encoded) == data


@pytest.mark.parametrize(
    ("data", "script"), [(b"#!/bin/sh\n", True), (b"", False), (b"#cloud-config\n", False), (b" #!/bin/sh", False)]
)
def test_is_script(data: bytes, script: bool) -> None:
    assert user_data.is_script(data) is script
