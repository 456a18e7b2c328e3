"""oblako_magic in an instance: it drives the cloud that it runs in, and starts none of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import oblako_magic
from oblako_magic import Ec2, ExecResult, Instance, names
from oblako_magic.controlplane import process
from oblako_magic.errors import ControlPlaneError, EngineUnavailable, OblakoError
from oblako_magic.settings import Settings
from tests.support.plane import ControlPlane, eventually

pytestmark = pytest.mark.slow
PACKAGE = "/opt/tested"
"""The image may be of another day: what is tested is copied into the instance."""


@pytest.fixture(scope="module")
def plane(request: pytest.FixtureRequest) -> Iterator[ControlPlane]:
    """A control plane that wants its key."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OBLAKO_REQUIRE_KEY", "on")
        yield request.getfixturevalue("shared_control_plane")


@pytest.fixture(scope="module")
def lab(plane: ControlPlane, notebook_image: str) -> Iterator[Instance]:
    """An instance of the notebook image with the package of these tests."""
    ec2 = Ec2(plane.settings)
    (instance,) = ec2.run(image=notebook_image, name="lab")
    instance.exec(["mkdir", PACKAGE], check=True)
    ec2.copy(str(Path(oblako_magic.__file__).parent), f"{instance.id}:{PACKAGE}/")
    yield instance
    instance.terminate()


def python(plane: ControlPlane, lab: Instance, code: str, **environ: str) -> ExecResult:
    """Run Python in the instance as its user, led to the cloud as a notebook there is."""
    given = {
        "OBLAKO_ENDPOINT": f"http://{names.HOST_ALIAS}:{plane.endpoint.rpartition(':')[2]}",
        "AWS_ACCESS_KEY_ID": process.access_key(plane.settings),
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "PYTHONPATH": PACKAGE,
        **environ,
    }
    return lab.exec(["python", "-c", code], user="ec2-user", env=given)


def said(result: ExecResult) -> Any:
    """The JSON that a program printed last."""
    assert result.ok, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_it_launches_sees_and_ends_instances_of_the_cloud_that_it_is_in(plane: ControlPlane, lab: Instance) -> None:
    code = """
import json
from oblako_magic import Ec2
ec2 = Ec2()
(one,) = ec2.run(name="made-inside", publish=["80"])
one.stop()
one.start()
seen = {i.name: i.state for i in ec2.instances()}
print(json.dumps([one.id, one.state, one.ports[0].host_port, seen, ec2.endpoint_url, ec2.status().running]))
"""
    instance_id, state, port, seen, endpoint, running = said(python(plane, lab, code))
    assert (state, running) == ("running", True)
    assert seen == {"lab": "running", "made-inside": "running"}
    assert endpoint.startswith(f"http://{names.HOST_ALIAS}:")
    container = plane.container(instance_id)
    assert container is not None
    assert container["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"] == str(port)
    code = f"from oblako_magic import Ec2; Ec2().get({instance_id!r}).terminate(); print(1)"
    assert said(python(plane, lab, code)) == 1
    eventually(lambda: plane.container(instance_id) is None, what="the container is gone")


def test_the_magics_work_inside_and_say_what_does_not(plane: ControlPlane, lab: Instance) -> None:
    code = """
import json
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
shell = InteractiveShell.instance()
said = {}
for line in ("ls", "show lab", "doctor", "status", "images", "exec lab -- true", "logs lab", "stats lab"):
    with capture_output() as captured:
        if not said:
            shell.run_line_magic("load_ext", "oblako_magic")
        shell.run_cell(f"%ec2 {line}")
    shown = [str(output.data.get("text/plain", "")) for output in captured.outputs]
    said[line] = captured.stdout + captured.stderr + "".join(shown)
print()
print(json.dumps(said))
"""
    found = said(python(plane, lab, code))
    for line in ("ls", "show lab"):
        assert lab.id in found[line], found[line]
    assert "now use http://host.docker.internal:" in found["ls"]
    assert "elsewhere" in found["doctor"]
    assert "elsewhere" in found["status"]
    assert "amazonlinux:2023" in found["images"]
    for line in ("exec lab -- true", "logs lab", "stats lab"):
        assert "run it there, outside of the instance" in found[line], found[line]
        assert "Traceback" not in found[line]


@pytest.mark.parametrize(
    ("code", "environ", "sentence"),
    [
        ("e.instances()", {"AWS_ACCESS_KEY_ID": "mine"}, "the access key is not this control plane's"),
        ("e.stop()", {}, "runs elsewhere; stop it there."),
        ("e.orphans()", {}, "an instance may not ask this of the control plane; do it outside"),
        (
            "e.instances()",
            {"OBLAKO_ENDPOINT": f"http://{names.HOST_ALIAS}:9"},
            "does not answer; start it where it runs",
        ),
        ("e.instances()", {"OBLAKO_ENDPOINT": ""}, "no control plane can run here: the package moto is not installed"),
        ("e.engine()", {"OBLAKO_ENDPOINT": ""}, "no container engine answers"),
        ("e.start_instance_container('i-0123456789abcdef0')", {}, "run it there, outside of the instance"),
    ],
)
def test_what_can_not_be_is_one_sentence(
    plane: ControlPlane, lab: Instance, code: str, environ: dict[str, str], sentence: str
) -> None:
    program = (
        "import json\nfrom oblako_magic import Ec2, OblakoError\ne = Ec2()\n"
        f"try:\n    {code}\nexcept OblakoError as error:\n    print(json.dumps(str(error)))\n"
    )
    assert sentence in said(python(plane, lab, program, **environ))


def test_an_instance_is_told_no_more_than_aws_tells(plane: ControlPlane, lab: Instance) -> None:
    code = """
import json
from oblako_magic.controlplane import process
from oblako_magic.errors import OblakoError
from oblako_magic.settings import Settings
settings = Settings.from_env()
runtime = process.ensure(settings)
found = {"hello": process.call(runtime, "GET", "/hello")}
for call in ("GET /status", "POST /stop", "POST /instances", "GET /orphans", "POST /remove", "POST /adopt",
             "GET /instances/../status", "POST /notebooks", "POST /publish"):
    method, path = call.split()
    try:
        found[call] = process.call(runtime, method, path, {} if method == "POST" else None)
    except OblakoError as error:
        found[call] = str(error)
print(json.dumps(found))
"""
    found = said(python(plane, lab, code))
    assert set(found.pop("hello")) == {"service", "version", "protocol"}
    assert {text for text in found.values() if not str(text).startswith("an instance may not ask this")} == set()


def test_the_user_is_not_kept_waiting_by_instances_that_wait(plane: ControlPlane, lab: Instance) -> None:
    code = """
import json, threading, time
from oblako_magic.controlplane import process
from oblako_magic.settings import Settings
settings = Settings.from_env()
runtime = process.ensure(settings)
revision = process.call(runtime, "GET", "/instances")["revision"]
times = []
def wait():
    begun = time.monotonic()
    process.call(runtime, "GET", f"/instances?since={revision}&timeout=2", timeout=30)
    times.append(time.monotonic() - begun)
threads = [threading.Thread(target=wait) for _ in range(60)]
[t.start() for t in threads]
time.sleep(0.5)
begun = time.monotonic()
process.call(runtime, "GET", "/hello")
hello = time.monotonic() - begun
[t.join() for t in threads]
print(json.dumps([hello, sum(t > 1.5 for t in times)]))
"""
    hello, long = said(python(plane, lab, code))
    assert hello < 1.5
    assert long <= 16


def test_an_endpoint_that_makes_no_sense_is_one_sentence() -> None:
    for text in ("localhost:80", "https://x:1", "http://", "http://u:p@x:1", "http://x:99999", "http://x:1/path"):
        with pytest.raises(OblakoError, match="is not of the form http://HOST:PORT"):
            Settings.from_env({"OBLAKO_ENDPOINT": text})
    settings = Settings.from_env({"OBLAKO_ENDPOINT": "http://127.0.0.1:9/", "AWS_ACCESS_KEY_ID": "s3cret"})
    assert (settings.endpoint, settings.endpoint_key) == ("http://127.0.0.1:9", "s3cret")
    assert "s3cret" not in repr(settings)
    ec2 = Ec2(settings)
    assert not ec2.status().running
    with pytest.raises(ControlPlaneError, match="does not answer"):
        ec2.instances()
    with pytest.raises(EngineUnavailable, match="outside of the instance"):
        ec2.engine()
