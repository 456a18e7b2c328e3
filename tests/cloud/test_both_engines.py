"""The short of it once on Docker and once on Podman."""

from __future__ import annotations

import threading
import urllib.request
from pathlib import Path

import pytest

from oblako_magic import Ec2, names
from oblako_magic.errors import WaitError
from tests.support.plane import ControlPlane, eventually
from tests.support.world import gone, runs

pytestmark = pytest.mark.both_engines


def test_a_life(shared_control_plane: ControlPlane, cloud: Ec2, tmp_path: Path) -> None:
    plane = shared_control_plane
    script = "#!/bin/sh\necho first boot >> /ebs/boots\n"
    web = {names.TAG_COMMAND: '["httpd", "-f", "-p", "8000", "-h", "/ebs"]'}
    (instance,) = cloud.run(name="life", user_data=script, publish=["8000"], tags=web)
    assert runs(plane, instance.id)
    cloud.wait_user_data(instance, timeout=30)
    assert instance.user_data == "done"
    (port,) = instance.ports

    def page() -> str:
        try:
            with urllib.request.urlopen(f"{port.url}/boots", timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    assert eventually(page, what="the port answers") == "first boot\n"
    (tmp_path / "up").write_text("up\n")
    cloud.copy(str(tmp_path / "up"), "life:/ebs/up")
    cloud.copy("life:/ebs/up", str(tmp_path / "down"))
    assert (tmp_path / "down").read_text() == "up\n"
    instance.stop()
    assert not runs(plane, instance.id)
    assert page() == ""
    instance.start()
    assert instance.ports == [port]
    assert eventually(page, what="the port answers again") == "first boot\n"
    (figures,) = cloud.stats([instance])
    assert figures.memory_limit > 0
    instance.terminate()
    gone(plane, instance.id)


def test_exec(shared_control_plane: ControlPlane, cloud: Ec2) -> None:
    (instance,) = cloud.run(name="exec")
    result = instance.exec("id -un; echo err >&2; exit 4", user="ec2-user")
    assert (result.exit_code, result.stdout, result.stderr) == (4, "ec2-user\n", "err\n")
    size = 5_000_000
    assert len(instance.exec(f"head -c {size} /dev/zero | tr '\\0' x").stdout) == size
    with pytest.raises(WaitError):
        instance.exec("sleep 424242", timeout=0.5, user="ec2-user")
    assert "424242" not in instance.exec("ps -o args | grep -v grep").stdout
    seen = threading.Event()
    told = cloud.exec(
        instance, "echo go; sleep 434343", on_stdout=lambda text: seen.set(), interrupted=seen.is_set, timeout=60
    )
    assert told.stdout == "go\n"
    assert not told.ok
    instance.exec("poweroff")
    instance.wait("stopped", timeout=20)
    assert not runs(shared_control_plane, instance.id)
    instance.terminate()
    gone(shared_control_plane, instance.id)


def test_the_control_plane_is_killed(shared_control_plane: ControlPlane, cloud: Ec2) -> None:
    (instance,) = cloud.run(name="killed")
    shared_control_plane.kill()
    # Seen running before the kill, but not saved yet: the loop looks again.
    assert cloud.find_one("killed").wait().state == "running"
    assert instance.exec("echo here").stdout == "here\n"
    instance.terminate()
    gone(shared_control_plane, instance.id)
