"""An engine that is not there: never, not now, or not any more."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from oblako_magic import names
from oblako_magic.controlplane import process
from oblako_magic.engine import Engine, build
from oblako_magic.settings import Settings
from tests.controlplane.planes import Plane
from tests.controlplane.proxy import Proxy, proxy
from tests.support.plane import eventually


@pytest.fixture(scope="module")
def cut(engine_backend: Engine) -> Iterator[Proxy]:
    """What stands between this module's control plane and the engine."""
    with proxy(engine_backend.url) as one:
        yield one


@pytest.fixture(scope="module")
def own(engine_backend: Engine, cut: Proxy, new_plane: Callable[..., Any]) -> Iterator[Plane]:
    """A control plane whose engine can be taken away."""
    variable = "CONTAINER_HOST" if engine_backend.podman else "DOCKER_HOST"
    with new_plane(engine_backend, **{variable: cut.url}) as plane:
        yield plane


@pytest.fixture(autouse=True)
def mended(cut: Proxy) -> Iterator[None]:
    """Leave the engine up for the next test, whatever became of this one."""
    yield
    cut.down()
    cut.up()


def engine_error(plane: Plane) -> str:
    return str(plane.api("GET", "/status")["engine_error"])


def test_an_engine_that_goes_away_shows_impaired_and_all_is_well_when_it_is_back(own: Plane, cut: Proxy) -> None:
    client, instance_id = own.client(), own.run()
    before = own.container(instance_id)
    assert before is not None

    def status() -> str:
        (found,) = client.describe_instance_status(InstanceIds=[instance_id])["InstanceStatuses"]
        return str(found["InstanceStatus"]["Status"])

    cut.down()
    eventually(lambda: status() == "impaired")
    assert own.state(instance_id) == "running"
    assert "start" in own.seen(instance_id)["impaired"], "names no next step"
    assert engine_error(own)
    cut.up()
    eventually(lambda: status() == "ok")
    assert engine_error(own) == ""
    after = own.container(instance_id)
    assert after is not None
    assert (after["Id"], after["State"]["StartedAt"]) == (before["Id"], before["State"]["StartedAt"])


def test_what_is_asked_while_the_engine_is_down_is_done_when_it_is_back(own: Plane, cut: Proxy) -> None:
    client, stop, end = own.client(), own.run(), own.run()
    cut.down()
    eventually(lambda: engine_error(own))
    client.stop_instances(InstanceIds=[stop])
    client.terminate_instances(InstanceIds=[end])
    (new,) = own.launch()
    assert [own.state(one) for one in (stop, end, new)] == ["stopping", "shutting-down", "pending"]
    container = own.container(stop)
    assert container is not None
    assert container["State"]["Running"]
    cut.up()
    own.until(stop, "stopped")
    own.until(end, "terminated")
    own.until(new, "running")
    container = own.container(stop)
    assert container is not None
    assert not container["State"]["Running"]
    assert own.container(end) is None
    assert names.root_volume_name(end) not in own.volumes()
    assert own.container(new) is not None


def test_one_that_ends_unseen_is_seen_when_the_engine_is_back(own: Plane, cut: Proxy) -> None:
    instance_id = own.run()
    cut.down()
    eventually(lambda: engine_error(own))
    own.engine.api.kill(names.container_name(instance_id))
    cut.up()
    own.until(instance_id, "stopped")
    assert "137" in own.reason(instance_id)


def test_it_starts_without_its_engine_and_adopts_when_that_comes(own: Plane, cut: Proxy) -> None:
    instance_id = own.run()
    before = own.container(instance_id)
    assert before is not None
    own.stop()
    cut.down()
    own.start()
    assert own.state(instance_id) == "running"
    eventually(lambda: own.seen(instance_id)["impaired"])
    cut.up()
    eventually(lambda: not own.seen(instance_id)["impaired"])
    after = own.container(instance_id)
    assert after is not None
    assert (after["Id"], after["State"]["StartedAt"]) == (before["Id"], before["State"]["StartedAt"])


def test_an_engine_that_was_named_is_not_given_up_for_another(own: Plane, cut: Proxy) -> None:
    cut.down()
    eventually(lambda: engine_error(own))
    (instance_id,) = own.launch()
    assert own.state(instance_id) == "pending"
    assert own.api("GET", "/status")["engine_url"] == ""
    assert own.container(instance_id) is None, "launched on another engine"
    cut.up()
    own.until(instance_id, "running")


_NO_ENGINE = """
import sys
from oblako_magic.engine import client
client.candidates = lambda backend: iter(())  # a machine without an engine
from oblako_magic.controlplane.server import main
sys.exit(main())
"""


def test_without_any_engine_instances_are_simulated_and_marked_so(
    engine_backend: Engine, tmp_path: Path, run_label: str
) -> None:
    environ = {"OBLAKO_STATE_DIR": str(tmp_path / "state"), "OBLAKO_EC2_IMAGE": build.TINY_IMAGE}
    plane = Plane(
        Settings.from_env({**os.environ, **environ}), engine_backend, "oblako.test-plane=none", environ=environ
    )
    server = subprocess.Popen([sys.executable, "-c", _NO_ENGINE], env={**os.environ, **environ})
    try:
        process.wait(plane.settings, 60, server)
        instance_id = plane.run(UserData="#!/bin/sh\ntrue\n")
        seen = plane.seen(instance_id)
        assert seen["backed"] is False
        assert seen["user_data"] == "not run (simulated)"
        assert plane.container(instance_id) is None
        assert "install" in engine_error(plane)
        for call, state in (
            ("stop", "stopped"),
            ("start", "running"),
            ("reboot", "running"),
            ("terminate", "terminated"),
        ):
            getattr(plane.client(), f"{call}_instances")(InstanceIds=[instance_id])
            plane.until(instance_id, state)
        waiter = plane.client().get_waiter("instance_terminated")
        waiter.wait(InstanceIds=[instance_id], WaiterConfig={"Delay": 0.1, "MaxAttempts": 20})
    finally:
        process.stop(plane.settings)
        server.wait(30)
