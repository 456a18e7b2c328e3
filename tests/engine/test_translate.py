"""Foreign errors come out as ours, every one of them, with what was tried and what to do."""

from __future__ import annotations

import inspect
import socket
from typing import Any

import docker.errors
import pytest
import requests.exceptions
import urllib3.exceptions

from oblako_magic import errors, names
from oblako_magic.engine import Engine, containers, images, streams, volumes
from oblako_magic.engine.translate import FOREIGN, translate, translated
from oblako_magic.errors import EngineError, EngineUnavailable, HalfStarted, ImageError, NotFound, PortTaken
from oblako_magic.model import PortMapping


def tree(module: Any) -> list[type[Exception]]:
    """All error classes that a module defines."""
    return [
        kind
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, Exception) and not issubclass(kind, Warning) and kind.__module__ == module.__name__
    ]


@pytest.mark.parametrize("module", [docker.errors, requests.exceptions, urllib3.exceptions], ids=lambda m: m.__name__)
def test_every_error_of_the_libraries_below_is_caught(module: Any) -> None:
    kinds = tree(module)
    assert len(kinds) > 5
    # Raised while a proxy is configured, before any call.
    others = {"ProxySchemeUnsupported"}
    assert {kind.__name__ for kind in kinds if not issubclass(kind, FOREIGN)} - others == set()


def api_error(status: int, text: str, kind: type[docker.errors.APIError] = docker.errors.APIError) -> Exception:
    response = requests.Response()
    response.status_code = status
    error: Exception = kind("400 for url", response=response, explanation=text)
    return error


TABLE: list[tuple[Exception, type[EngineError], bool]] = [
    (api_error(404, "No such container: x", docker.errors.NotFound), NotFound, False),
    (api_error(404, "No such image: x", docker.errors.ImageNotFound), ImageError, False),
    (api_error(404, "no such image", docker.errors.NotFound), ImageError, False),
    (api_error(404, "x: image not known", docker.errors.NotFound), ImageError, False),
    (api_error(500, "Bind for 127.0.0.1:80 failed: port is already allocated"), PortTaken, False),
    (
        api_error(500, "cannot listen on the TCP port: listen tcp4 127.0.0.1:1: bind: address already in use"),
        PortTaken,
        False,
    ),
    (api_error(500, "Ports are not available: exposing port TCP 127.0.0.1:80"), PortTaken, False),
    (api_error(409, "removal of container x is already in progress"), EngineError, True),
    (api_error(500, "unlinkat /x: device or resource busy"), EngineError, True),
    (api_error(503, "overloaded"), EngineError, True),
    (api_error(500, "transport: Error while dialing dial unix:///run/containerd.sock: timeout"), EngineError, True),
    (api_error(500, "task 91fde80fae9604: already exists"), HalfStarted, False),
    (api_error(500, "id already in use"), HalfStarted, False),
    (api_error(500, "failed to start shim: mkdir /x/moby/c1ed0b3f: file exists: unknown"), HalfStarted, False),
    (api_error(500, "no space left on device"), EngineError, False),
    (api_error(400, "invalid reference format"), EngineError, False),
    (requests.exceptions.ReadTimeout("Read timed out."), EngineError, True),
    (urllib3.exceptions.ReadTimeoutError(None, "", "Read timed out."), EngineError, True),  # type: ignore[arg-type]
    (requests.exceptions.ConnectionError("Connection aborted.", ConnectionRefusedError(111)), EngineUnavailable, True),
    (
        docker.errors.DockerException("Error while fetching server API version: Connection refused"),
        EngineUnavailable,
        True,
    ),
    (urllib3.exceptions.ProtocolError("Connection broken"), EngineUnavailable, True),
    (ConnectionResetError(104, "reset"), EngineUnavailable, True),
    (BrokenPipeError(32, "Broken pipe"), EngineUnavailable, True),
    (FileNotFoundError(2, "No such file or directory"), EngineUnavailable, True),
    (PermissionError(13, "Permission denied"), EngineUnavailable, True),
]


@pytest.mark.parametrize(("foreign", "kind", "transient"), TABLE, ids=[str(row[0])[:50] for row in TABLE])
def test_the_table(foreign: Exception, kind: type[EngineError], transient: bool) -> None:
    with pytest.raises(EngineError) as caught, translated("start i-1"):
        raise foreign
    assert type(caught.value) is kind
    assert caught.value.transient is transient
    assert caught.value.__cause__ is foreign
    text = str(caught.value)
    assert text.startswith("can't start i-1: ")
    assert text.endswith(".")
    assert "\n" not in text


def test_our_own_errors_pass_unchanged() -> None:
    error = PortTaken("port 80 is in use.")
    with pytest.raises(PortTaken) as caught, translated("x"):
        raise error
    assert caught.value is error


def test_what_is_no_engines_error_passes_too() -> None:
    with pytest.raises(ZeroDivisionError), translated("x"):
        raise ZeroDivisionError


def test_the_tree_in_errors_docstring_is_the_tree() -> None:
    described = {line.split("+-- ")[1].split()[0] for line in (errors.__doc__ or "").splitlines() if "+-- " in line}
    assert described == {kind.__name__ for kind in tree(errors)} - {"OblakoError"}


def test_an_error_without_an_answer_is_translated() -> None:
    assert isinstance(translate(docker.errors.APIError("no answer"), "x"), EngineError)


def test_a_podman_without_an_init_says_what_to_install() -> None:
    foreign = api_error(500, "container create: container-init binary not found on the host: stat /x/catatonit")
    assert "install catatonit and try again" in str(translate(foreign, "make the container of i-1"))


# -- what the engines really say ----------------------------------------------------------------------


@pytest.mark.both_engines
def test_what_is_not_there_is_not_found(engine_backend: Engine) -> None:
    with pytest.raises(NotFound):
        containers.start(engine_backend, "i-nothing")
    with pytest.raises(NotFound):
        streams.run(engine_backend, "i-nothing", ["true"])
    assert containers.find(engine_backend, "i-nothing") is None
    assert not volumes.exists(engine_backend, "oblako-nothing")


@pytest.mark.both_engines
def test_a_missing_image_is_an_image_error(engine_backend: Engine, spec: Any) -> None:
    one = spec()
    with pytest.raises(ImageError):
        containers.create(engine_backend, one, images.Image("localhost/oblako/no-such:1"))
    assert containers.find(engine_backend, one.instance_id) is None


@pytest.mark.both_engines
def test_a_taken_port_is_port_taken(engine_backend: Engine, spec: Any, tiny: images.Image) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        one = spec(ports=(PortMapping(80, taken.getsockname()[1]),))
        containers.create(engine_backend, one, tiny)
        with pytest.raises(PortTaken, match="in use"):
            containers.start(engine_backend, one.instance_id)


@pytest.mark.both_engines
def test_a_command_on_a_stopped_container_is_one_sentence(engine_backend: Engine, running: str) -> None:
    containers.stop(engine_backend, running)
    with pytest.raises(EngineError) as caught:
        streams.run(engine_backend, running, ["true"])
    assert not isinstance(caught.value, EngineUnavailable)
    assert "running" in str(caught.value)


@pytest.mark.both_engines
def test_a_volume_in_use_stays(engine_backend: Engine, running: str) -> None:
    with pytest.raises(EngineError):
        volumes.remove(engine_backend, names.root_volume_name(running))
    assert volumes.exists(engine_backend, names.root_volume_name(running))
