"""Doctor, orphans, the control plane that goes away, and containers without one."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from oblako_magic import Ec2, __version__, names
from oblako_magic.engine import build, containers, volumes
from oblako_magic.errors import EngineError, OblakoError, PortTaken
from oblako_magic.frontends import cli
from oblako_magic.handles import Check, Orphan
from tests.support.plane import ControlPlane, eventually
from tests.support.sweep import RUN, sweep
from tests.support.world import gone, running, runs, started_at, stray


@pytest.fixture
def own_id(shared_control_plane: ControlPlane) -> str:
    return (shared_control_plane.settings.state_dir / "id").read_text().strip()


def orphans(cloud: Ec2, instance_id: str) -> dict[str, Orphan]:
    return {orphan.kind: orphan for orphan in cloud.orphans() if orphan.instance_id == instance_id}


class TestOrphans:
    def test_adopted(self, shared_control_plane: ControlPlane, cloud: Ec2, own_id: str) -> None:
        plane = shared_control_plane
        instance_id = stray(plane, "i-0adadadadadadadad", own_id)
        started = started_at(plane, instance_id)
        found = orphans(cloud, instance_id)
        assert not found["container"].foreign
        assert not cloud.doctor().ok
        instance = cloud.adopt(found["container"])
        assert (instance.id, instance.name, instance.type) == (instance_id, f"stray-{instance_id}", "t3.small")
        assert instance.wait().state == "running"
        assert started_at(plane, instance_id) == started
        assert orphans(cloud, instance_id) == {}
        assert instance.exec("echo mine").stdout == "mine\n"
        instance.terminate()
        gone(plane, instance_id)

    def test_removed_by_hand_and_never_by_itself(
        self, shared_control_plane: ControlPlane, cloud: Ec2, own_id: str
    ) -> None:
        plane = shared_control_plane
        instance_id = stray(plane, "i-0bebebebebebebebe", own_id)
        plane.execute(instance_id, "sh", "-c", "echo data > /ebs/data")
        # A restart of the control plane changes nothing about it.
        plane.stop()
        plane.start()
        assert runs(plane, instance_id)
        found = orphans(cloud, instance_id)
        cloud.remove(found["container"])
        assert plane.container(instance_id) is None
        volume = names.root_volume_name(instance_id)
        assert volume in plane.volumes()
        left = orphans(cloud, instance_id)
        assert set(left) == {"volume"}
        with pytest.raises(OblakoError, match="can't be adopted"):
            cloud.adopt(left["volume"])
        cloud.remove(left["volume"])
        assert volume not in plane.volumes()
        with pytest.raises(OblakoError, match="no orphaned"):
            cloud.remove(left["volume"])

    def test_foreign_ones_are_shown_and_left_alone(self, shared_control_plane: ControlPlane, cloud: Ec2) -> None:
        plane = shared_control_plane
        instance_id = stray(plane, "i-0fefefefefefefefe", "somebody-else")
        found = orphans(cloud, instance_id)
        assert found["container"].foreign
        assert found["volume"].foreign
        for orphan in found.values():
            with pytest.raises(OblakoError, match=r"another control plane|can't be adopted"):
                cloud.adopt(orphan)
            with pytest.raises(OblakoError, match="another control plane"):
                cloud.remove(orphan)
        assert runs(plane, instance_id)
        assert instance_id not in cloud.instances(all=True).ids
        # Somebody else's are nothing that needs doing here.
        report = cloud.doctor()
        assert instance_id in [orphan.instance_id for orphan in report.orphans]
        assert report.ok, [check for check in report.checks if not check.ok]
        containers.remove(plane.engine, instance_id)
        volumes.remove(plane.engine, names.root_volume_name(instance_id))

    def test_an_instance_is_no_orphan(self, cloud: Ec2) -> None:
        (instance,) = cloud.run()
        with pytest.raises(OblakoError, match="no orphaned"):
            cloud.remove(Orphan("container", names.container_name(instance.id), instance.id, "", False))
        assert instance.exec("true").ok
        assert orphans(cloud, instance.id) == {}
        instance.terminate()

    def test_a_kept_root_volume_is_no_orphan(self, shared_control_plane: ControlPlane, cloud: Ec2) -> None:
        keep = [{"DeviceName": "/dev/xvda", "Ebs": {"DeleteOnTermination": False}}]
        instance = cloud.get(cloud.run_instance(BlockDeviceMappings=keep)).wait()
        volume_id = instance.volumes[0]["volume_id"]
        instance.terminate()
        assert names.root_volume_name(instance.id) in shared_control_plane.volumes()
        assert orphans(cloud, instance.id) == {}
        cloud.get_client().delete_volume(VolumeId=volume_id)
        gone(shared_control_plane, instance.id)


class TestDoctor:
    def test_all_is_well(self, cloud: Ec2, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in cloud.environment().items():
            monkeypatch.setenv(name, value)
        checks = {check.name: check for check in cloud.doctor().checks}
        assert all(check.ok for check in checks.values()), checks
        assert {"control plane", "engine", "image", "instances", "disk", "clients"} <= set(checks)
        assert cloud.endpoint_url in checks["clients"].detail
        assert build.TINY_IMAGE in checks["image"].detail

    def test_a_stale_notebook_image_is_wrong_and_a_missing_one_is_told(
        self, cloud: Ec2, monkeypatch: pytest.MonkeyPatch, run_label: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        api, name = cloud.engine().api, f"oblako/old:{run_label}"
        monkeypatch.setattr(names, "NOTEBOOK_IMAGE", name)

        def told() -> tuple[Check, str, str]:
            check = next(check for check in cloud.doctor().checks if check.name == "notebook image")
            row = next(row for row in cloud.images() if row["name"] == "(notebook)")
            return check, row["image"], row["description"]

        check, image, description = told()
        assert (check.ok, image) == (True, name)
        assert "notebook instances need it (oblako image build notebook)" in check.detail
        assert "build it with: oblako image build notebook" in description
        container = api.create_container(build.TINY_IMAGE, ["true"], labels={RUN: run_label})["Id"]
        changes = [f"LABEL {names.LABEL_VERSION}=0.0.1", f"LABEL {names.LABEL_IMAGE}=notebook"]
        api.commit(container, *name.split(":"), changes=changes)
        api.remove_container(container)
        try:
            check, _, description = told()
            assert cli.main(["image", "ls"]) == 0
            (instance,) = cloud.run(image=name, name="old")
        finally:
            cloud.find(["old"])[0].terminate()
            api.remove_image(name)
        said = f"{name} was built by version 0.0.1, and this is {__version__}"
        assert (check.ok, check.detail, check.next_step) == (False, said, "oblako image build notebook --force")
        assert said in description
        assert any(said in line and line.startswith(name) for line in capsys.readouterr().out.splitlines())
        assert instance.note == f"{said}; build it again with: oblako image build notebook --force"

    def test_what_is_removed_by_hand_is_impaired(self, shared_control_plane: ControlPlane, cloud: Ec2) -> None:
        (instance,) = cloud.run(name="robbed")
        instance.exec("echo kept > /ebs/note")
        containers.remove(shared_control_plane.engine, instance.id)
        eventually(lambda: instance.refresh().impaired, what="impaired")
        check = next(check for check in cloud.doctor().checks if check.name == "instances")
        assert not check.ok
        assert "robbed" in check.detail
        assert instance.id in check.next_step
        with pytest.raises(OblakoError, match="impaired"):
            instance.exec("true")
        instance.start()
        eventually(lambda: not instance.refresh().impaired, what="well again")
        assert instance.exec("cat /ebs/note").stdout == "kept\n"
        instance.terminate()

    def test_nothing_runs_and_nothing_is_started(self, cloud: Ec2, tmp_path: Path) -> None:
        elsewhere = Ec2(replace(cloud.settings, state_dir=tmp_path / "other"))
        report = elsewhere.doctor()
        assert not report.ok
        first = report.checks[0]
        assert (first.name, first.ok, first.next_step) == ("control plane", False, "oblako up")
        assert not elsewhere.status().running
        assert not (tmp_path / "other" / "control-plane.json").exists()


class TestControlPlaneGoesAway:
    """The next call starts it again, once, and every instance is where it was."""

    def test_killed(self, shared_control_plane: ControlPlane, cloud: Ec2) -> None:
        plane = shared_control_plane
        (instance,) = cloud.run(name="survivor")
        started = started_at(plane, instance.id)
        endpoint = cloud.endpoint_url
        plane.kill()
        assert instance.id in cloud.instances().ids
        assert cloud.endpoint_url == endpoint
        plane.kill()
        (second,) = cloud.run(name="after")
        assert runs(plane, second.id)
        plane.kill()
        # Commands go straight to the engine and need none.
        assert instance.exec("echo still here").stdout == "still here\n"
        assert started_at(plane, instance.id) == started
        instance.terminate()
        gone(plane, instance.id)
        plane.kill()
        assert orphans(cloud, instance.id) == orphans(cloud, second.id) == {}
        second.terminate()

    def test_stop_and_start_of_the_api(self, shared_control_plane: ControlPlane, cloud: Ec2) -> None:
        (instance,) = cloud.run()
        before = cloud.status()
        cloud.stop()
        assert not cloud.status().running
        assert runs(shared_control_plane, instance.id)
        cloud.start(wait=False)
        cloud.wait_ready()
        assert cloud.status().running
        assert cloud.status().pid != before.pid
        assert cloud.status().endpoint == before.endpoint
        assert cloud.status().counts == before.counts
        instance.refresh().terminate()

    def test_a_client_of_boto3_outlives_it(self, shared_control_plane: ControlPlane, cloud: Ec2) -> None:
        client = cloud.get_client()
        shared_control_plane.kill()
        cloud.start()
        assert client.describe_instances()["ResponseMetadata"]["HTTPStatusCode"] == 200


class TestContainersAlone:
    """start_instance_container and terminate_instance_container need no control plane."""

    @pytest.fixture
    def alone(self, shared_control_plane: ControlPlane, tmp_path: Path) -> Ec2:
        plane = shared_control_plane
        return Ec2(replace(plane.settings, state_dir=tmp_path / "none"))

    def test_idempotent(self, shared_control_plane: ControlPlane, alone: Ec2) -> None:
        plane, instance_id = shared_control_plane, "i-0a10ea10ea10ea10e"
        first = alone.start_instance_container(instance_id, published_ports={8000: 0}, image=build.TINY_IMAGE)
        running(plane, instance_id)
        second = alone.start_instance_container(instance_id, published_ports={8000: 0}, image=build.TINY_IMAGE)
        assert (first.container_id, first.ports) == (second.container_id, second.ports)
        assert first.ports[0].host == "127.0.0.1"
        plane.execute(instance_id, "sh", "-c", "echo kept > /note")
        containers.stop(plane.engine, instance_id, grace=1)
        assert alone.start_instance_container(instance_id).running
        assert plane.execute(instance_id, "cat", "/note") == (0, "kept\n")
        assert not alone.status().running
        for _ in range(2):
            alone.terminate_instance_container(instance_id)
            assert plane.container(instance_id) is None
            assert names.root_volume_name(instance_id) not in plane.volumes()

    def test_image_and_command(self, shared_control_plane: ControlPlane, alone: Ec2) -> None:
        plane, instance_id = shared_control_plane, "i-0a20ea20ea20ea20e"
        state = alone.start_instance_container(instance_id, "ami-12c6146b", command=["sleep", "1234"])
        assert state.image == build.TINY_IMAGE  # OBLAKO_EC2_IMAGE
        assert "sleep 1234" in plane.execute(instance_id, "ps", "-o", "args")[1]
        alone.terminate_instance_container(instance_id)
        gone(plane, instance_id)

    def test_nothing_half_made(self, shared_control_plane: ControlPlane, alone: Ec2) -> None:
        plane, first, second = shared_control_plane, "i-0a30ea30ea30ea30e", "i-0a40ea40ea40ea40e"
        port = alone.start_instance_container(first, published_ports=["8000"]).ports[0].host_port
        with pytest.raises(PortTaken):
            alone.start_instance_container(second, published_ports=[f"{port}:80"])
        with pytest.raises(EngineError, match="no-such-image"):
            alone.start_instance_container(second, image="localhost:1/no-such-image:1")
        with pytest.raises(OblakoError, match="not a port"):
            alone.start_instance_container(second, published_ports=["http"])
        gone(plane, second)
        alone.terminate_instance_container(first)
        gone(plane, first)

    @pytest.fixture(autouse=True)
    def _swept(self, shared_control_plane: ControlPlane) -> None:
        """These carry the labels of the environment, and so the module's own."""
        assert shared_control_plane.label in os.environ["OBLAKO_LABELS"]
        sweep(shared_control_plane.engine.api, shared_control_plane.label)
