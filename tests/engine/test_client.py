"""Which engine is taken: where it is looked for, in which order, and what is said where none answers."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from oblako_magic.engine import Engine, client
from oblako_magic.errors import EngineError, EngineUnavailable
from oblako_magic.settings import Settings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home and a runtime folder without any engine; the system's own sockets do not exist."""
    for name in ("DOCKER_HOST", "CONTAINER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "COLIMA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    original = client._exists
    monkeypatch.setattr(client, "_exists", lambda path: path.is_relative_to(tmp_path) and original(path))
    return tmp_path


def touch(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return f"unix://{path}"


def context(home: Path, name: str, url: str, current: bool = True) -> None:
    folder = home / ".docker" / "contexts" / "meta" / name
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text(json.dumps({"Name": name, "Endpoints": {"docker": {"Host": url}}}))
    if current:
        (home / ".docker" / "config.json").write_text(json.dumps({"currentContext": name}))


def test_a_machine_without_an_engine_has_no_candidates(home: Path) -> None:
    assert list(client.candidates(None)) == []
    settings = Settings(state_dir=home)
    assert not client.installed(settings)
    assert client.installed(replace(settings, backend="docker")), "who asks for an engine expects it to come"
    with pytest.raises(
        EngineUnavailable, match=r"^no container engine answers; start Docker .* or install docker\.io or podman\.$"
    ):
        client.connect(settings)


def test_the_likeliest_comes_first(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    podman = touch(home / "run/podman/podman.sock")
    rootless, desktop = touch(home / "run/docker.sock"), touch(home / ".docker/run/docker.sock")
    colima = touch(home / ".colima/default/docker.sock")
    assert list(client.candidates(None)) == [rootless, desktop, colima, podman]
    assert list(client.candidates("docker")) == [rootless, desktop]
    assert list(client.candidates("colima")) == [colima]
    assert list(client.candidates("podman")) == [podman]
    assert client.installed(Settings(state_dir=home))
    context(home, "mine", "unix:///mine.sock")
    assert list(client.candidates("docker")) == ["unix:///mine.sock", rootless, desktop]


def test_an_engine_that_is_named_is_the_only_one_of_its_kind(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    podman = touch(home / "run/podman/podman.sock")
    touch(home / "run/docker.sock")
    context(home, "mine", "unix:///mine.sock")
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:2375")
    assert list(client.candidates("docker")) == ["tcp://127.0.0.1:2375"]
    assert list(client.candidates(None)) == ["tcp://127.0.0.1:2375", podman]
    monkeypatch.setenv("CONTAINER_HOST", "unix:///other.sock")
    assert list(client.candidates("podman")) == ["unix:///other.sock"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"currentContext": 5}', '{"currentContext": "default"}', '{"currentContext": "gone"}']
)
def test_a_docker_configuration_that_names_no_context_is_no_error(home: Path, text: str) -> None:
    context(home, "mine", "unix:///mine.sock")
    (home / ".docker" / "config.json").write_text(text)
    assert list(client.candidates("docker")) == []


def test_the_context_of_the_environment_goes_before_the_files(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context(home, "mine", "unix:///mine.sock")
    context(home, "other", "unix:///other.sock", current=False)
    monkeypatch.setenv("DOCKER_CONTEXT", "other")
    assert list(client.candidates("docker")) == ["unix:///other.sock"]


def test_colima_home_is_minded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLIMA_HOME", str(home / "elsewhere"))
    socket_ = touch(home / "elsewhere/default/docker.sock")
    assert list(client.candidates("colima")) == [socket_]


@pytest.mark.parametrize(
    ("backend", "step"), [("docker", "systemctl start docker"), ("podman", "podman.socket"), ("colima", "colima start")]
)
def test_the_sentence_names_where_it_was_looked_for_and_the_next_step(
    home: Path, monkeypatch: pytest.MonkeyPatch, backend: str, step: str
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{home}/nothing.sock")
    monkeypatch.setenv("CONTAINER_HOST", f"unix://{home}/nothing.sock")
    with pytest.raises(EngineUnavailable) as caught:
        client.connect(Settings(state_dir=home, backend=backend))
    assert step in str(caught.value)
    assert backend.capitalize() in str(caught.value)
    assert (f"{home}/nothing.sock" in str(caught.value)) == (backend != "colima")


def test_dead_sockets_are_passed_by(home: Path, engine_backend: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(home / "run/docker.sock")
    dead = home / ".docker/run/docker.sock"
    dead.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(dead))
    (home / ".colima/default").mkdir(parents=True)
    os.symlink(engine_backend.url.removeprefix("unix://"), home / ".colima/default/docker.sock")
    engine = client.connect(Settings(state_dir=home, labels={"a": "b"}))
    try:
        assert engine.url.endswith(".colima/default/docker.sock")
        assert engine.labels == {"a": "b"}
        assert engine.api.ping()
    finally:
        engine.close()


def test_who_asks_for_podman_does_not_get_docker(
    home: Path, engines: object, monkeypatch: pytest.MonkeyPatch, engine_backend: Engine
) -> None:
    if engine_backend.podman:
        pytest.fail("run with --engine docker")
    monkeypatch.setenv("CONTAINER_HOST", engine_backend.url)
    with pytest.raises(EngineUnavailable, match="no Podman answers"):
        client.connect(Settings(state_dir=home, backend="podman"))


@pytest.mark.both_engines
def test_a_connection_knows_its_engine(engine_backend: Engine) -> None:
    raw = engine_backend.api.version()
    assert engine_backend.podman == any("Podman" in item["Name"] for item in raw["Components"])
    assert engine_backend.version == raw["Version"]
    assert engine_backend.title.startswith("Podman " if engine_backend.podman else "Docker ")
    cpus, memory = engine_backend.host
    assert cpus == (os.cpu_count() or 1)
    assert memory > 256


def test_an_address_where_nothing_answers_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable):
        client.connect_url(f"unix://{tmp_path}/nothing.sock", Settings(state_dir=tmp_path))


def test_what_answers_but_is_no_engine_is_an_engine_error(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        silent.settimeout(10)
        port = silent.getsockname()[1]

        import threading

        def answer() -> None:
            connection, _ = silent.accept()
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno")
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(EngineError):
            client.connect_url(f"tcp://127.0.0.1:{port}", Settings(state_dir=tmp_path))
        thread.join()
