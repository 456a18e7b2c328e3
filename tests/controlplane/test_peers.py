"""Other users of this machine: whose a connection is, and what they are refused."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oblako_magic.controlplane import peers, process
from oblako_magic.controlplane.guard import PEER, Guard
from oblako_magic.settings import Settings
from tests.conftest import missing
from tests.controlplane.planes import Plane
from tests.controlplane.test_guard import QUERY, RUN, SIGNED, address, environ, vpcs
from tests.support.plane import eventually

NOBODY = 65534
# What the user may not read is imported before the user is changed.
BECOME = f"""
import http.client, json, os, socket, sys
"x".encode("idna")
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
"""
ASK = """
answers = []
for host, headers in json.loads(sys.argv[2]):
    connection = http.client.HTTPConnection(host, int(sys.argv[1]), timeout=20)
    connection.request("POST", sys.argv[4], sys.argv[3].encode(), headers)
    response = connection.getresponse()
    answers.append((response.status, response.read().decode()))
print(json.dumps(answers))
"""
FORM = {"Authorization": SIGNED, "Content-Type": "application/x-www-form-urlencoded"}


def as_nobody(code: str, *arguments: str) -> str:
    """Run Python as another user of this machine; what it prints."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        missing("only root can become another user")
    done = subprocess.run(
        [sys.executable, "-c", BECOME + code, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def ask_as_nobody(plane: Plane, body: bytes, *hosts: str, path: str = "/", **headers: str) -> list[tuple[int, str]]:
    _, port = address(plane)
    asked = [(host, {**FORM, **headers}) for host in hosts or ("127.0.0.1",)]
    answers = json.loads(as_nobody(ASK, str(port), json.dumps(asked), body.decode(), path))
    return [(status, text) for status, text in answers]


def bridge(plane: Plane) -> str:
    """The other address that it listens on."""
    from oblako_magic.engine import networks

    found = networks.gateway(plane.engine)
    assert found
    eventually(lambda: _listens(found, address(plane)[1]), what="the bridge is listened on")
    return found


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=2).close()
    except OSError:
        return False
    return True


# -- whose a connection is ----------------------------------------------------------------------------


@pytest.fixture(params=["ask", "table"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to know: the kernel's answer, and its table where it gives none."""
    if not peers.available():
        missing("this system does not tell whose a connection is")
    if request.param == "table":

        def refuse(*_: Any) -> None:
            raise OSError(errno.EPROTONOSUPPORT, "no such family")

        monkeypatch.setattr(peers, "_ask", refuse)
    return str(request.param)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_the_user_of_a_connection_is_known(way: str, family: socket.AddressFamily) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(family) as client:
        host = "127.0.0.1" if family == socket.AF_INET else "::ffff:127.0.0.1"
        client.connect((host, server.getsockname()[1]))
        accepted, _ = server.accept()
        with accepted:
            assert peers.of(accepted) == os.getuid()
            client.close()
            assert peers.of(accepted) == peers.UNKNOWN, "what nobody holds any more is told as root's by the kernel"


def test_another_user_is_told_from_us_and_their_leaving_does_not_make_them_root(way: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        code = "c = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); print(c.recv(1)); c.sendall(b'x')"
        child = subprocess.Popen(
            [sys.executable, "-c", BECOME + code, str(server.getsockname()[1])], stdout=subprocess.DEVNULL
        )
        accepted, _ = server.accept()
        with accepted:
            assert peers.of(accepted) == NOBODY
            accepted.sendall(b"x")
            assert child.wait(20) == 0
            eventually(lambda: peers.of(accepted) == peers.UNKNOWN, what="gone is unknown")


def test_a_listener_on_the_port_of_a_connection_that_is_gone_is_not_its_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as ours, socket.create_server(("127.0.0.1", 0)) as other:
        assert peers._ask(other.getsockname(), ours.getsockname()) is None


def test_it_costs_far_less_than_a_millisecond() -> None:
    took = []
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()),
        server.accept()[0] as accepted,
    ):
        for _ in range(50):
            begun = time.perf_counter()
            peers.of(accepted)
            took.append(time.perf_counter() - begun)
    assert sorted(took)[25] < 0.001


# -- who is let in ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "path", "word"),
    [
        (1000, "/", ""),
        (0, "/", ""),
        (peers.INSTANCE, "/", ""),
        (peers.INSTANCE, f"{process.API}/hello", ""),
        (peers.INSTANCE, f"{process.API}/instances", ""),
        (peers.INSTANCE, f"{process.API}/stop", "an instance may not ask this"),
        (peers.INSTANCE, f"{process.API}/status", "an instance may not ask this"),
        (peers.INSTANCE, f"{process.API}/notebooks", ""),
        (peers.INSTANCE, "/_oblako/open/nonce", "an instance may not ask this"),
        (1001, "/", "user 1001"),
        (peers.UNKNOWN, "/", "can't be told"),
    ],
)
def test_one_user_is_let_in(peer: Any, path: str, word: str) -> None:
    asked = {**environ(PATH_INFO=path, REQUEST_METHOD="GET"), PEER: peer}
    refusal = Guard(user=1000).stranger(asked)
    assert (word in refusal) if word else refusal == ""
    assert Guard().stranger(asked) == ""


def test_a_request_of_which_nothing_is_told_is_refused() -> None:
    assert Guard(user=1000).stranger(environ())


def test_another_user_is_refused_with_one_sentence(plane: Plane) -> None:
    before = vpcs(plane)
    for status, text in ask_as_nobody(plane, RUN, "127.0.0.1", bridge(plane)):
        assert status == 403
        # Docker's masquerading can hide whose a connection to the bridge is: then nobody's of this host passes.
        assert f"user {NOBODY}" in text or "can't be told" in text
        assert "OBLAKO_ALLOW_OTHER_USERS=on" in text
    ((status, text),) = ask_as_nobody(plane, b"{}", path=f"{process.API}/stop", **{process.HEADER: "1"})
    assert (status, "OBLAKO_ALLOW_OTHER_USERS" in json.loads(text)["error"]) == (403, True)
    assert vpcs(plane) == before


def test_another_user_who_does_not_wait_for_the_answer_changes_nothing(plane: Plane) -> None:
    """The kernel tells a closed socket as root's."""
    before = vpcs(plane)
    head = f"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {SIGNED}\r\nContent-Length: {len(RUN)}\r\n"
    data = head + "Content-Type: application/x-www-form-urlencoded\r\n\r\n" + RUN.decode()
    code = (
        "for host in sys.argv[3:]:\n"
        " for _ in range(40):\n"
        "  c = socket.create_connection((host, int(sys.argv[1]))); c.sendall(sys.argv[2].encode()); c.close()\n"
    )
    as_nobody(code, str(address(plane)[1]), data, "127.0.0.1", bridge(plane))
    plane.client().describe_vpcs()
    assert vpcs(plane) == before


def test_nothing_in_the_state_directory_is_another_users(plane: Plane) -> None:
    settings = plane.settings
    files = [settings.state_dir, settings.runtime_file, settings.log_file, settings.lock_file, settings.state_file]
    plane.client().create_key_pair(KeyName="of-mine")
    code = (
        "for path in sys.argv[1:]:\n"
        " for mode in 'rb', 'r+b':\n"
        "  try: open(path, mode)\n"
        "  except (PermissionError, IsADirectoryError): continue\n"
        "  except OSError as error: print(path, mode, error)\n"
        "  else: print(path, mode, 'opened')\n"
        "try: print(os.listdir(sys.argv[1]))\n"
        "except PermissionError: pass\n"
    )
    # The folders above are the tests' own and closed, too: let nobody in there, so that it is ours that refuse.
    opened: list[tuple[Path, int]] = []
    for folder in settings.state_dir.parents:
        if len(folder.parts) > 2:
            opened.append((folder, folder.stat().st_mode))
            folder.chmod(folder.stat().st_mode | 0o055)
    try:
        assert as_nobody(code, *map(str, files)) == ""
    finally:
        for folder, mode in opened:
            folder.chmod(mode)
    for path in settings.state_dir.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_an_instance_may_speak_aws_and_not_the_own_api(plane: Plane) -> None:
    instance_id, port = plane.run(), address(plane)[1]
    bridge(plane)

    def wget(path: str, data: str, header: str) -> str:
        url = f"http://host.docker.internal:{port}{path}"
        words = ["wget", "-O", "-", "--header", header, "--post-data", data, url]
        return plane.execute(instance_id, *words)[1]

    assert "<vpcId>" in wget("/", "Action=DescribeVpcs&Version=2016-11-15", f"Authorization: {SIGNED}")
    assert "403" in wget(f"{process.API}/stop", "{}", f"{process.HEADER}: 1")
    assert plane.api("GET", "/hello")


def test_a_setting_lets_the_others_in(engine_backend: Any, new_plane: Callable[..., Any]) -> None:
    with new_plane(engine_backend, OBLAKO_ALLOW_OTHER_USERS="on") as plane:
        ((status, text),) = ask_as_nobody(plane, QUERY)
        assert (status, "DescribeInstancesResponse" in text) == (200, True)


# -- the key, where the system does not tell ----------------------------------------------------------


def test_where_the_system_tells_no_users_there_is_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "available", lambda: False)
    settings = Settings(state_dir=tmp_path / "state")
    key = process.access_key(settings)
    assert key == process.access_key(settings) != "test"
    assert (settings.state_dir / "access-key").stat().st_mode & 0o777 == 0o600
    assert process.access_key(Settings(state_dir=tmp_path / "other", allow_other_users=True)) == "test"


def test_with_a_key_no_other_is_let_in(engine_backend: Any, new_plane: Callable[..., Any]) -> None:
    from oblako_magic import Ec2
    from oblako_magic.errors import ControlPlaneError

    with new_plane(engine_backend, OBLAKO_REQUIRE_KEY="on") as plane:
        settings = Settings.from_env({**os.environ, **plane.environ})
        assert not Ec2(settings).instances()
        assert Ec2(settings).environment()["AWS_ACCESS_KEY_ID"].startswith("OBLAKO")
        from botocore.exceptions import ClientError

        with pytest.raises(ClientError, match="oblako env"):
            plane.client().describe_vpcs()
        runtime = process.read_runtime(settings)
        assert runtime is not None
        with pytest.raises(ControlPlaneError, match="access key"):
            process.call(process.Runtime(runtime.pid, runtime.port, "", 1), "GET", "/hello")
