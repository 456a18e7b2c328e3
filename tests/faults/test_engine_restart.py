"""The engine itself ends and is started again: what ran runs again, with its data, and nothing is taken for a shutdown.

On a Docker daemon of the test's own; the machine's is not touched.
"""

from __future__ import annotations

import os
import signal
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from oblako_magic import names
from oblako_magic.engine import build
from oblako_magic.engine.client import connect_url
from oblako_magic.settings import Settings
from tests.conftest import missing
from tests.controlplane.planes import Plane, running_plane
from tests.support.dockerd import Daemon, lacking, own_docker
from tests.support.plane import eventually

PORTS = range(26000 + os.getpid() % 100 * 8, 26008 + os.getpid() % 100 * 8)
"""The only ports that this control plane may publish on."""
PUBLISH = [{"ResourceType": "instance", "Tags": [{"Key": names.TAG_PUBLISH, "Value": "80"}]}]

pytestmark = [pytest.mark.slow, pytest.mark.engine]


@dataclass
class Restarted:
    """A control plane on an engine that can be ended, and two instances in it.

    Parameters
    ----------
    up, down : str
        Instance ids: one runs and would be terminated by a shutdown from within; one is stopped.
    """

    daemon: Daemon
    plane: Plane
    up: str
    down: str

    def began(self) -> str:
        container = self.plane.container(self.up)
        return str(container["State"]["StartedAt"]) if container else ""

    def holds(self) -> None:
        """All is as it was before the engine ended."""
        eventually(self._runs, timeout=10, what="the instance runs again")
        assert self.plane.state(self.up) == "running"
        assert self.plane.read(self.up, f"{names.ROOT_MOUNT}/mark") == "kept\n"
        assert self.plane.state(self.down) == "stopped"
        stopped = self.plane.container(self.down)
        assert stopped is not None
        assert not stopped["State"]["Running"]
        assert self.plane.seen(self.up)["impaired"] == ""

    def _runs(self) -> bool:
        container = self.plane.container(self.up)
        running = container is not None and bool(container["State"]["Running"])
        return running and self.plane.seen(self.up)["impaired"] == ""


@pytest.fixture(scope="module")
def restarted(run_label: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restarted]:
    lack = lacking()
    if lack:
        missing(lack)
    with ExitStack() as stack:
        daemon = stack.enter_context(own_docker())
        environ = {"OBLAKO_CONTAINER_BACKEND": "docker", "DOCKER_HOST": daemon.url}
        environ["OBLAKO_PUBLISH_PORTS"] = f"{PORTS[0]}-{PORTS[-1]}"
        engine = connect_url(daemon.url, Settings.from_env())
        stack.callback(engine.close)
        build.build_tiny(engine.api)
        state = tmp_path_factory.mktemp("restart") / "state"
        plane = stack.enter_context(running_plane(engine, state, run_label, f"{run_label}-restart", environ))
        up, down = plane.run(InstanceInitiatedShutdownBehavior="terminate"), plane.run()
        plane.execute(up, "sh", "-c", f"echo kept > {names.ROOT_MOUNT}/mark")
        plane.client().stop_instances(InstanceIds=[down])
        plane.until(down, "stopped")
        yield Restarted(daemon, plane, up, down)


@pytest.fixture(autouse=True)
def plane(restarted: Restarted) -> Plane:
    """The log of a fixture's own plane is shown where a test fails."""
    return restarted.plane


def test_a_port_that_the_engine_refuses_is_not_insisted_on(restarted: Restarted) -> None:
    """It may hold one that nobody listens on, such as that of a start amid which it was killed."""
    plane, api = restarted.plane, restarted.plane.engine.api
    first = zlib.crc32((plane.settings.state_dir / "id").read_bytes().strip()) % len(PORTS)
    config = api.create_host_config(port_bindings={"80/tcp": ("127.0.0.1", PORTS[first])})
    held = api.create_container(build.TINY_IMAGE, ports=[80], stdin_open=True, host_config=config)["Id"]
    api.start(held)
    _end_proxy(PORTS[first])
    instance_id = plane.run(TagSpecifications=PUBLISH)
    assert [port["host_port"] for port in plane.seen(instance_id)["ports"]] == [PORTS[(first + 1) % len(PORTS)]]
    (refused,) = plane.launch(
        TagSpecifications=[{**PUBLISH[0], "Tags": [{"Key": names.TAG_PUBLISH, "Value": f"{PORTS[first]}:80"}]}]
    )
    plane.until(refused, "terminated")
    assert "a port that it publishes is in use" in plane.reason(refused)
    plane.client().terminate_instances(InstanceIds=[instance_id])
    api.remove_container(held, force=True)
    plane.until(instance_id, "terminated")


def _end_proxy(port: int) -> None:
    """End the process that carries a published port; the engine takes no note."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"-host-port\0{port}\0".encode() in (folder / "cmdline").read_bytes():
                os.kill(int(folder.name), signal.SIGKILL)


def test_launches_amid_which_the_engine_is_killed_run_after_all(restarted: Restarted) -> None:
    plane = restarted.plane
    ids = plane.launch(count=2, TagSpecifications=PUBLISH)
    eventually(lambda: len(plane.containers()) > 2, what="a container is made")
    restarted.daemon.kill()
    restarted.daemon.up()
    for instance_id in ids:
        plane.until(instance_id, "running")
    plane.client().terminate_instances(InstanceIds=ids)
    for instance_id in ids:
        plane.until(instance_id, "terminated")
    restarted.holds()


@pytest.mark.parametrize("end", ["kill", "stop", "crash"])
def test_what_ran_runs_again_after_the_engine_was_ended(restarted: Restarted, end: str) -> None:
    before = restarted.began()
    getattr(restarted.daemon, end)()
    restarted.daemon.up()
    restarted.holds()
    assert restarted.began() != before


def test_what_the_engine_kept_alive_is_left_alone(restarted: Restarted) -> None:
    before = restarted.began()
    restarted.daemon.kill()
    restarted.daemon.up("--live-restore")
    restarted.holds()
    assert restarted.began() == before


def test_an_engine_that_was_restarted_while_there_was_no_control_plane(restarted: Restarted) -> None:
    restarted.plane.kill()
    restarted.daemon.stop()
    restarted.daemon.up()
    restarted.plane.start()
    restarted.holds()


def test_a_shutdown_from_within_is_still_one_after_that(restarted: Restarted) -> None:
    restarted.plane.kill()
    restarted.plane.execute(restarted.up, "kill", "-TERM", "1")
    eventually(lambda: not restarted.plane.container(restarted.up)["State"]["Running"])  # type: ignore[index]
    restarted.plane.start()
    restarted.plane.until(restarted.up, "terminated")
    assert restarted.plane.reason(restarted.up) == "Client.InstanceInitiatedShutdown: Instance initiated shutdown"
