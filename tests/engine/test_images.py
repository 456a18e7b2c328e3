"""Images: looked up, pulled with progress, stood in for, refused."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import docker.errors
import pytest

from oblako_magic import __version__, names
from oblako_magic.engine import Engine, build, images
from oblako_magic.engine.images import Image, Resolver
from oblako_magic.errors import ImageError
from tests.support.sweep import RUN

NOWHERE = "127.0.0.1:1/oblako/no-such:1"


@pytest.mark.parametrize(
    ("entrypoint", "cmd", "own_init", "command"),
    [
        ((), ("/bin/sh",), False, ("sleep", "infinity")),
        ((), (), False, ("sleep", "infinity")),
        (("/entry",), (), False, None),
        (("/entry",), ("/bin/sh",), False, None),
        ((), ("/sbin/init",), True, None),
        ((), ("/lib/systemd/systemd", "--system"), True, None),
        (("/sbin/init",), (), True, None),
        (("/init",), (), True, None),
        ((), ("initialise",), False, ("sleep", "infinity")),
    ],
)
def test_what_is_run(
    entrypoint: tuple[str, ...], cmd: tuple[str, ...], own_init: bool, command: tuple[str, ...] | None
) -> None:
    image = Image("x", entrypoint, cmd)
    assert (image.own_init, image.command) == (own_init, command)


@pytest.mark.both_engines
def test_an_image_that_is_here_is_found_by_its_short_name(engine_backend: Engine) -> None:
    found = images.local(engine_backend, build.TINY_IMAGE)
    assert found is not None
    assert (found.entrypoint, found.cmd) == ((), ("/bin/sh",))
    assert engine_backend.api.inspect_image(found.name)["Id"]
    assert build.TINY_IMAGE in images.names_here(engine_backend)
    assert images.local(engine_backend, "oblako/no-such:1") is None


@pytest.mark.both_engines
def test_a_pull_that_fails_is_an_image_error(engine_backend: Engine) -> None:
    with pytest.raises(ImageError, match=NOWHERE):
        images.pull(engine_backend, NOWHERE)


@pytest.mark.both_engines
def test_an_image_that_was_named_has_no_stand_in(engine_backend: Engine) -> None:
    with pytest.raises(ImageError, match="check its name, or name one that is here"):
        Resolver().resolve(engine_backend, NOWHERE, fallback=False)


@pytest.fixture
def stale_image(engine_backend: Engine, run_label: str) -> Iterator[str]:
    """The tiny image as if an older version had built it, as the notebook image."""
    yield from made_by("0.0.1", engine_backend, run_label)


def made_by(version: str, engine: Engine, run: str) -> Iterator[str]:
    api, name = engine.api, f"oblako/stale:{run}"
    container = api.create_container(build.TINY_IMAGE, ["true"], labels={RUN: run})["Id"]
    try:
        labels = {
            names.LABEL_IMAGE: "notebook",
            names.LABEL_VERSION: version,
            names.LABEL_BUILT: "2020-01-01T00:00:00Z",
        }
        changes = [f"LABEL {key}={value}" for key, value in labels.items()]
        api.commit(container, *name.split(":"), changes=changes)
    finally:
        api.remove_container(container)
    yield name
    api.remove_image(name)


def test_an_image_that_another_version_built_is_told(engine_backend: Engine, stale_image: str) -> None:
    sentence = (
        f"{stale_image} was built by version 0.0.1, and this is {__version__}; "
        "build it again with: oblako image build notebook --force"
    )
    resolver = Resolver()
    for _ in range(2):  # looked up, and remembered
        image, note = resolver.resolve(engine_backend, stale_image, fallback=False)
        assert (image.name, note) == (stale_image, sentence)
    assert (stale_image, "0.0.1") in [
        (name, labels[names.LABEL_VERSION])
        for name, labels in images.built_here(engine_backend)
        if names.LABEL_VERSION in labels
    ]


def test_an_image_of_this_version_is_told_nothing_of(engine_backend: Engine, run_label: str) -> None:
    for name in made_by(__version__, engine_backend, run_label):
        assert Resolver().resolve(engine_backend, name, fallback=False)[1] == ""


@pytest.mark.parametrize(("image", "which"), [("BASE_IMAGE", "base"), ("NOTEBOOK_IMAGE", "notebook")])
def test_what_is_built_here_is_never_pulled(
    engine_backend: Engine, monkeypatch: pytest.MonkeyPatch, image: str, which: str
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("pulled")

    name = getattr(names, image)
    monkeypatch.setattr(images, "local", lambda *_: None)
    monkeypatch.setattr(images, "pull", refuse)
    with pytest.raises(ImageError) as caught:
        Resolver().resolve(engine_backend, name, fallback=False)
    assert str(caught.value) == f"{name} is not here; build it with: oblako image build {which}"


@pytest.fixture
def stand_in(engine_backend: Engine, monkeypatch: pytest.MonkeyPatch) -> str:
    """The tiny image in the part of the base image."""
    monkeypatch.setattr(names, "BASE_IMAGE", build.TINY_IMAGE)
    return build.TINY_IMAGE


def test_the_base_image_stands_in_and_says_so(engine_backend: Engine, stand_in: str) -> None:
    image, note = Resolver().resolve(engine_backend, NOWHERE, fallback=True)
    assert image.name == stand_in
    assert note == f"{NOWHERE} can't be pulled; {stand_in}, built here, stands in."


def test_without_a_base_image_the_next_step_is_named(engine_backend: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "BASE_IMAGE", "oblako/no-such:1")
    with pytest.raises(ImageError, match=r"build an image here with: oblako image build$"):
        Resolver().resolve(engine_backend, NOWHERE, fallback=True)


class Pulls:
    """Counts pulls and lets them fail or work without a registry."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.names, self.works = engine, list[str](), False

    def __call__(self, engine: Engine, name: str, on_progress: Any = None, *, timeout: float = 0) -> None:
        self.names.append(name)
        if not self.works:
            raise ImageError(f"can't pull {name}: no route.")
        engine.api.tag(build.TINY_IMAGE, *name.rsplit(":", 1))


@pytest.fixture
def pulls(engine_backend: Engine, monkeypatch: pytest.MonkeyPatch, run_label: str) -> Iterator[Pulls]:
    one = Pulls(engine_backend)
    monkeypatch.setattr(images, "pull", one)
    yield one
    for name in set(one.names):
        try:
            engine_backend.api.remove_image(name)
        except docker.errors.ImageNotFound:
            continue


def test_a_crowd_pulls_once(engine_backend: Engine, pulls: Pulls, run_label: str) -> None:
    pulls.works = True
    name, resolver = f"oblako/test-crowd:{run_label}", Resolver()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: resolver.resolve(engine_backend, name, fallback=False), range(8)))
    assert pulls.names == [name]
    assert {image.name for image, _ in found} == {name}


def test_a_crowd_is_refused_by_one_pull(engine_backend: Engine, pulls: Pulls, stand_in: str) -> None:
    name, resolver = "oblako/test-refused:1", Resolver()

    def resolve(fallback: bool) -> str:
        try:
            return resolver.resolve(engine_backend, name, fallback=fallback)[0].name
        except ImageError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(resolve, [True, False] * 4))
    assert pulls.names == [name]
    assert len(answers) == 2
    assert stand_in in answers


def test_an_image_that_comes_after_a_refusal_is_taken(engine_backend: Engine, pulls: Pulls, run_label: str) -> None:
    name, resolver = f"oblako/test-later:{run_label}", Resolver()
    with pytest.raises(ImageError):
        resolver.resolve(engine_backend, name, fallback=False)
    engine_backend.api.tag(build.TINY_IMAGE, *name.rsplit(":", 1))
    assert resolver.resolve(engine_backend, name, fallback=False)[0].name == name
    assert pulls.names == [name]


def test_a_refusal_is_not_remembered_for_ever(
    engine_backend: Engine, pulls: Pulls, run_label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, resolver = f"oblako/test-again:{run_label}", Resolver()
    with pytest.raises(ImageError):
        resolver.resolve(engine_backend, name, fallback=False)
    pulls.works = True
    monkeypatch.setattr(images, "_REFUSED", 0.0)
    assert resolver.resolve(engine_backend, name, fallback=False)[0].name == name


def test_an_image_that_went_away_is_pulled_again_once_it_is_forgotten(
    engine_backend: Engine, pulls: Pulls, run_label: str
) -> None:
    pulls.works = True
    name, resolver = f"oblako/test-gone:{run_label}", Resolver()
    resolver.resolve(engine_backend, name, fallback=False)
    engine_backend.api.remove_image(name)
    resolver.forget(engine_backend, name)
    assert resolver.resolve(engine_backend, name, fallback=False)[0].name == name
    assert pulls.names == [name, name]


# -- a registry of the test's own ---------------------------------------------------------------------


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@contextmanager
def registry(label: str, *, slow: threading.Event | None = None) -> Iterator[str]:
    """A registry on loopback, which Docker speaks plain HTTP to, with one image; the image's name."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("hello")
        entry.size = 300_000
        archive.addfile(entry, io.BytesIO(hashlib.sha512(label.encode()).digest() * 5000))
    layer = gzip.compress(buffer.getvalue(), 1)
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": ["/pulled"], "Labels": {"oblako.test-image": label}},
            "rootfs": {"type": "layers", "diff_ids": [_digest(buffer.getvalue())]},
        }
    ).encode()
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": kind,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "size": len(config),
                "digest": _digest(config),
            },
            "layers": [
                {
                    "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                    "size": len(layer),
                    "digest": _digest(layer),
                }
            ],
        }
    ).encode()
    blobs = {_digest(config): config, _digest(layer): layer}

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            what = self.path.rpartition("/")[2]
            if self.path == "/v2/":
                data, mime = b"{}", "application/json"
            elif "/manifests/" in self.path and what in ("1", _digest(manifest)):
                data, mime = manifest, kind
            elif what in blobs:
                data, mime = blobs[what], "application/octet-stream"
            else:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", mime)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Docker-Content-Digest", _digest(data))
            self.end_headers()
            if self.command == "GET":
                if slow is not None and data is layer:
                    self.wfile.write(data[:1000])
                    slow.wait(20)
                    data = data[1000:]
                self.wfile.write(data)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}/oblako/pulled:1"
        finally:
            server.shutdown()
            thread.join()


def test_an_image_is_pulled_with_progress(engine_backend: Engine, run_label: str) -> None:
    lines: list[str] = []
    with registry(run_label) as name:
        try:
            image, note = Resolver().resolve(engine_backend, name, fallback=False, on_progress=lines.append)
            assert (image.name, image.entrypoint, note) == (name, ("/pulled",), "")
            labels = engine_backend.api.inspect_image(name)["Config"]["Labels"]
            assert labels == {"oblako.test-image": run_label}
        finally:
            engine_backend.api.remove_image(name)
    assert lines[0].startswith(f"pulling {name}")
    assert any(line.endswith("%") for line in lines)


def test_a_tag_that_the_registry_lacks_is_an_image_error(engine_backend: Engine, run_label: str) -> None:
    with registry(run_label) as name, pytest.raises(ImageError, match="no-such"):
        images.pull(engine_backend, name.rsplit(":", 1)[0] + ":no-such")
