"""Which engine a control plane goes back to after a restart."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from oblako_magic.controlplane import process
from tests.support.plane import ControlPlane, eventually


def test_the_engine_that_has_the_containers_is_the_one(
    control_plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a named backend another engine that answers first after a boot must not be taken."""
    ec2 = control_plane.client()
    run = ec2.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1)
    instance_id = run["Instances"][0]["InstanceId"]
    eventually(lambda: control_plane.state(instance_id) == "running")
    assert (control_plane.settings.state_dir / "engine").read_text() == control_plane.engine.url
    control_plane.stop()

    # As if the containers were in an engine that has not come up yet, while another one answers already.
    gone = f"unix://{tmp_path / 'gone.sock'}"
    (control_plane.settings.state_dir / "engine").write_text(gone)
    # Nobody names an engine, as other tests of this session do.
    for name in ("OBLAKO_CONTAINER_BACKEND", "DOCKER_HOST", "CONTAINER_HOST"):
        monkeypatch.delenv(name, raising=False)
    control_plane.start()
    runtime = process.find(control_plane.settings)
    assert runtime is not None
    status = process.call(runtime, "GET", "/status")
    assert status["engine"] == ""
    assert "does not answer" in status["engine_error"]
    assert os.path.exists(control_plane.engine.url.removeprefix("unix://"))
    assert control_plane.container(instance_id) is not None, "nothing was done to what could not be seen"
    rows = process.call(runtime, "GET", "/instances")["instances"]
    [row] = [row for row in rows if row["id"] == instance_id]
    assert row["state"] == "running", json.dumps(row)
