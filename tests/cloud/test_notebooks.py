"""Ec2.notebooks on a real engine: a class of 20 from launch to end.

With a small stand-in for JupyterLab; the real one is in the browser test and in the tutorials.
"""

from __future__ import annotations

import csv
import urllib.error
import urllib.request
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from oblako_magic import Ec2
from oblako_magic.engine import Engine
from oblako_magic.errors import AwsError, OblakoError, WaitError
from oblako_magic.notebooks import NotebookList
from tests.support import fake_jupyter
from tests.support.plane import ControlPlane, eventually

HOME = "/home/ec2-user/SageMaker"


@pytest.fixture(scope="module")
def image(engine_backend: Engine, base_image: str, run_label: str) -> Iterator[str]:
    name = fake_jupyter.build(engine_backend.api, base_image, f"{run_label}-cloud", run_label)
    yield name
    engine_backend.api.remove_image(name, force=True)


@pytest.fixture(scope="module")
def students(cloud: Ec2, image: str) -> Iterator[NotebookList]:
    seen: list[str] = []
    made = cloud.notebooks.run(
        "class",
        count=20,
        image=image,
        lifecycle="#!/bin/sh\necho started >> /ebs/starts\n",
        env={"COURSE": "al gebra's"},
        publish=["8501"],
        on_change=lambda them: seen.extend(notebook.status for notebook in them),
    )
    assert seen[0] == "Pending"
    assert seen[-1] == "InService"
    yield made
    cloud.notebooks.change("terminate", made)
    assert cloud.notebooks.all() == []
    with pytest.raises(AwsError, match="lifecycle"):
        cloud._aws(
            "describe_notebook_instance_lifecycle_config",
            service="sagemaker",
            NotebookInstanceLifecycleConfigName=made[0].lifecycle_config,
        )


def status(url: str, token: str = "") -> int:
    headers = {"Authorization": f"token {token}"} if token else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_each_answers_to_its_own_token_alone(students: NotebookList) -> None:
    rows = [*csv.DictReader(students.to_csv().splitlines())]
    assert [row["name"] for row in rows] == [f"class-{number:02}" for number in range(1, 21)]
    tokens = [urlsplit(row["login_url"]).query.partition("token=")[2] for row in rows]
    assert len(set(tokens)) == 20
    assert {status(row["login_url"]) for row in rows} == {200}
    contents = [row["url"].replace("/lab", "/api/contents") for row in rows[:2]]
    found = [[status(url, token) for token in [*tokens[:2], ""]] for url in contents]
    assert found == [[200, 403, 403], [403, 200, 403]]


def test_each_has_its_own_volume(students: NotebookList, shared_control_plane: ControlPlane) -> None:
    volumes = set()
    for student in students:
        container = shared_control_plane.container(student.machine)
        assert container is not None
        volumes |= {mount["Name"] for mount in container["Mounts"] if mount["Destination"] == HOME}
    assert len(volumes) == 20


def test_a_link_is_good_for_one_use(students: NotebookList) -> None:
    link = students[0].open_url()
    assert status(link) == 200
    assert status(link) == 403


def test_a_link_keeps_to_the_name_by_which_it_was_opened(students: NotebookList) -> None:
    """A frame in a page at localhost has no cookies of 127.0.0.1."""
    for host in ("localhost", "127.0.0.1"):
        with urllib.request.urlopen(students[0].open_url().replace("127.0.0.1", host), timeout=20) as answer:
            assert urlsplit(answer.url).hostname == host


def test_work_is_kept_over_stop_and_start(students: NotebookList) -> None:
    first, second, *_ = students
    address = first.url
    first.exec(f"echo notes > {HOME}/notes.txt", user="ec2-user", check=True)
    with pytest.raises(OblakoError, match="the command in class-01 ended with exit code 3: why"):
        first.exec("echo why >&2; exit 3", check=True)
    assert not second.exec(f"cat {HOME}/notes.txt").ok, "the volumes are apart"
    assert first.stop().status == "Stopped"
    with pytest.raises(OblakoError, match="class-01 is Stopped: %ec2 notebook start class-01 starts it"):
        first.exec("true")
    assert first.update(instance_type="ml.t3.large").type == "ml.t3.large"
    assert first.start().status == "InService"
    assert first.url == address
    assert first.exec(f"cat {HOME}/notes.txt").stdout == "notes\n"
    assert first.exec("cat /ebs/starts").stdout == "started\nstarted\n"


def test_a_command_has_the_environment_of_the_kernels(students: NotebookList) -> None:
    said = students[1].exec('echo "$COURSE"; echo "$AWS_ENDPOINT_URL"; id -un', user="ec2-user").stdout.splitlines()
    assert said[0] == "al gebra's"
    assert said[1].startswith("http://host.docker.internal:")
    assert said[2] == "ec2-user"


def test_further_ports_are_there(students: NotebookList) -> None:
    serve = "cd /tmp && echo a page > page && exec nohup python3 -m http.server 8501 >/dev/null 2>&1 &"
    students[0].exec(serve)
    [port] = students[0].refresh().ports
    assert port.container_port == 8501
    eventually(lambda: _answers(f"{port.url}/page"), what="the further port answers")


def _answers(url: str) -> bool:
    try:
        return status(url) == 200
    except (urllib.error.URLError, OSError):
        return False


def test_the_machines_are_the_services(students: NotebookList, cloud: Ec2) -> None:
    assert students[0].machine.startswith("i-")
    assert cloud.instances(all=True) == []


def test_a_script_that_fails_is_told(cloud: Ec2, image: str, shared_control_plane: ControlPlane) -> None:
    with pytest.raises(WaitError, match=r"broken is Failed, not InService: .*OnStart ended with exit code 3") as no:
        cloud.notebooks.run("broken", image=image, lifecycle="#!/bin/sh\necho the reason >&2\nexit 3\n")
    assert str(no.value).endswith("; %ec2 notebook terminate broken removes it.")
    [broken] = no.value.instances
    assert broken.delete().status == "Deleted"
    assert shared_control_plane.container(broken.machine) is None


def test_an_image_that_is_not_there_is_told(cloud: Ec2) -> None:
    with pytest.raises(WaitError, match=r"nothere is Failed, not InService: .*no-such") as no:
        cloud.notebooks.run("nothere", image="localhost:1/no-such:1")
    no.value.instances[0].delete()
