"""Finding, starting and stopping the one control plane of a state directory."""

from __future__ import annotations

import http.server
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from oblako_magic import __version__
from oblako_magic.controlplane import process
from oblako_magic.controlplane.process import PROTOCOL, Runtime
from oblako_magic.engine import Engine
from oblako_magic.errors import ControlPlaneError, ControlPlaneTimeout
from oblako_magic.settings import Settings
from tests.controlplane.planes import Plane
from tests.support.plane import eventually


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with a state directory that nobody has used yet."""
    return Settings(state_dir=tmp_path / "state")


@contextmanager
def answering(answer: object, status: int = 200) -> Iterator[int]:
    """A server on loopback that gives everybody this answer; its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def runtime_file(settings: Settings, port: int, **changes: Any) -> None:
    process.private_dir(settings.state_dir)
    process.write_runtime(settings, replace(Runtime(os.getpid(), port, __version__, PROTOCOL), **changes))


def hello(settings: Settings, **changes: Any) -> dict[str, Any]:
    return {"state_dir": str(settings.state_dir), "protocol": PROTOCOL, "version": __version__, **changes}


# -- finding ------------------------------------------------------------------------------------------


def test_nothing_is_found_where_nothing_was_started(settings: Settings) -> None:
    assert process.find(settings) is None
    assert not process.locked(settings)
    assert process.stop(settings) is False
    assert not settings.state_dir.exists(), "a look made the state directory"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"pid": "x", "port": 1}', "\x00\xff"])
def test_a_runtime_file_that_cant_be_read_counts_as_none(settings: Settings, text: str) -> None:
    process.private_dir(settings.state_dir)
    settings.runtime_file.write_text(text, encoding="latin-1")
    assert process.read_runtime(settings) is None
    assert process.find(settings) is None


def test_a_stale_runtime_file_whose_port_is_silent_counts_as_none(settings: Settings) -> None:
    runtime_file(settings, process.free_port())
    assert process.find(settings) is None


@pytest.mark.parametrize("answer", [b"<html>hello</html>", {}, [1], {"state_dir": "elsewhere"}], ids=str)
def test_a_stale_runtime_file_whose_port_another_server_has_counts_as_none(settings: Settings, answer: object) -> None:
    with answering(answer) as port:
        runtime_file(settings, port)
        assert process.find(settings) is None


def test_one_of_another_directory_is_not_taken_for_ours(settings: Settings, tmp_path: Path) -> None:
    with answering(hello(settings, state_dir=str(tmp_path / "other"))) as port:
        runtime_file(settings, port)
        assert process.find(settings) is None


def test_one_that_speaks_another_protocol_is_refused_with_the_next_step(settings: Settings) -> None:
    with answering(hello(settings, protocol=PROTOCOL + 1, version="9.9")) as port:
        runtime_file(settings, port)
        with pytest.raises(ControlPlaneError, match=r"another version \(9\.9\).*oblako down && oblako up"):
            process.find(settings)


def test_one_of_another_version_with_the_same_protocol_is_taken(settings: Settings) -> None:
    with answering(hello(settings, version="9.9")) as port:
        runtime_file(settings, port)
        found = process.find(settings)
        assert found is not None
        assert found.port == port


def test_one_that_does_not_answer_is_an_error_and_not_absence(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = process.call
    monkeypatch.setattr(process, "call", lambda *a, **k: original(*a, **{**k, "timeout": 0.2}))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        runtime_file(settings, silent.getsockname()[1])
        with pytest.raises(ControlPlaneTimeout):
            process.find(settings)


def test_an_error_of_the_control_plane_comes_out_as_its_sentence() -> None:
    with (
        answering({"error": "no such thing."}, 404) as port,
        pytest.raises(ControlPlaneError, match=r"^no such thing\.$"),
    ):
        process.call(Runtime(1, port, "1", 1), "GET", "/x")


# -- ports --------------------------------------------------------------------------------------------


def test_the_port_is_known_before_anything_listens_and_stays(settings: Settings) -> None:
    port = process.planned_port(settings)
    assert process.planned_port(settings) == port
    assert 1024 <= port <= 65535


def test_two_first_kernels_plan_the_same_port(settings: Settings) -> None:
    start = threading.Barrier(8)
    found: list[int] = []

    def plan() -> None:
        start.wait()
        found.append(process.planned_port(settings))

    threads = [threading.Thread(target=plan) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert set(found) == {process.planned_port(settings)}


@pytest.mark.parametrize("text", ["", "x", "80", "99999"])
def test_a_port_file_that_makes_no_sense_is_replaced(settings: Settings, text: str) -> None:
    process.private_dir(settings.state_dir)
    (settings.state_dir / "port").write_text(text)
    port = process.planned_port(settings)
    assert 1024 <= port <= 65535
    assert process.planned_port(settings) == port


def test_a_port_that_is_set_goes_before_the_remembered(settings: Settings) -> None:
    process.planned_port(settings)
    assert process.planned_port(replace(settings, port=4567)) == 4567


# -- the state directory ------------------------------------------------------------------------------


def test_a_state_directory_that_cant_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ControlPlaneError, match=r"can't be used .*; set OBLAKO_STATE_DIR to a folder of yours\.$"):
        process.start(Settings(state_dir=tmp_path / "file" / "state"))


def test_private_files_are_private_whatever_the_umask(settings: Settings) -> None:
    settings.state_dir.mkdir(mode=0o777, parents=True)
    settings.state_dir.chmod(0o777)
    old = os.umask(0)
    try:
        process.private_dir(settings.state_dir)
        runtime_file(settings, 1)
        process.planned_port(settings)
    finally:
        os.umask(old)
    assert stat.S_IMODE(settings.state_dir.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in settings.state_dir.iterdir()} == {0o600}


def test_everything_that_a_control_plane_keeps_is_this_users_alone(plane: Plane) -> None:
    plane.run()
    folder = plane.settings.state_dir
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}
    assert {"state.bin", "runtime.json", "control-plane.log", "port", "id"} <= set(modes)
    assert {name: oct(mode) for name, mode in modes.items() if mode & 0o077} == {}


# -- processes ----------------------------------------------------------------------------------------

_ENSURE = """
from oblako_magic.controlplane import process
from oblako_magic.settings import Settings
print(process.ensure(Settings.from_env(), 60).pid)
"""


def servers(state_dir: Path) -> list[int]:
    """The processes of a state directory's control planes."""
    import psutil

    found = []
    for one in psutil.process_iter(["pid", "cmdline"]):
        command = one.info["cmdline"] or []
        if "oblako_magic.controlplane" in command:
            try:
                if one.environ().get("OBLAKO_STATE_DIR") == str(state_dir):
                    found.append(int(one.info["pid"]))
            except psutil.Error:
                continue
    return found


def test_its_life(engine_backend: Engine, new_plane: Callable[..., Any], tmp_path: Path) -> None:
    with new_plane(engine_backend) as own:
        settings, folder = own.settings, own.settings.state_dir
        first = process.find(settings)
        assert first is not None
        assert process.ensure(settings) == first
        assert servers(folder) == [first.pid]

        # A second one by hand ends by itself and says so; the first is not disturbed.
        environ = {**os.environ, **own.environ}
        second = subprocess.run(
            [sys.executable, "-m", "oblako_magic.controlplane"], env=environ, capture_output=True, text=True, timeout=60
        )
        assert (second.returncode, second.stdout) == (0, "")
        assert "another control plane" in second.stderr
        assert process.find(settings) == first

        # Down: nothing is left of it but its files; twice is no error.
        assert process.stop(settings) is True
        assert process.stop(settings) is False
        assert process.find(settings) is None
        eventually(lambda: servers(folder) == [])

        # Several at once, over what a killed one leaves behind: one server.
        settings.runtime_file.write_text(
            json.dumps({"pid": 1, "port": first.port, "version": "0", "protocol": 0, "host": "127.0.0.1"})
        )
        settings.lock_file.touch()
        starters = [
            subprocess.Popen([sys.executable, "-c", _ENSURE], env=environ, stdout=subprocess.PIPE, text=True)
            for _ in range(3)
        ]
        pids = {starter.communicate(timeout=90)[0].strip() for starter in starters}
        runtime = process.find(settings)
        assert runtime is not None
        assert pids == {str(runtime.pid)}
        eventually(lambda: servers(folder) == [runtime.pid], what="the other servers have ended")
        assert runtime.port == first.port, "the port was not remembered"

        # A foreigner takes the port while it is down: another one is taken, and remembered.
        own.stop()
        with socket.socket() as foreigner:
            foreigner.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            foreigner.bind(("127.0.0.1", first.port))
            foreigner.listen()
            own.start()
            moved = process.find(settings)
            assert moved is not None
            assert moved.port != first.port
        assert process.planned_port(settings) == moved.port

        # SIGTERM, as a system that goes down sends it, ends it as tidily as oblako down does.
        vpc = own.client().create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
        os.kill(moved.pid, signal.SIGTERM)
        eventually(lambda: not process.locked(settings))
        assert not settings.runtime_file.exists()
        own.start()
        again = process.find(settings)
        assert again is not None
        assert again.port == moved.port
        assert own.client().describe_vpcs(VpcIds=[vpc])["Vpcs"]


def test_a_port_that_was_set_and_is_taken_is_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        environ = {**os.environ, "OBLAKO_STATE_DIR": str(tmp_path / "state"), "OBLAKO_PORT": str(port)}
        ended = subprocess.run(
            [sys.executable, "-m", "oblako_magic.controlplane"], env=environ, capture_output=True, text=True, timeout=60
        )
    assert ended.returncode == 1
    assert ended.stderr.strip() == f"port {port} (OBLAKO_PORT) is in use; free it or set another."


def test_one_that_can_not_start_says_why_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OBLAKO_WORKERS", "many")
    begun = time.monotonic()
    with pytest.raises(ControlPlaneError, match="could not start: OBLAKO_WORKERS=many is not a whole number"):
        process.ensure(Settings(state_dir=tmp_path / "state"), 60)
    assert time.monotonic() - begun < 30
