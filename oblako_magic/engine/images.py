"""Container images: look up, pull with progress, and fall back to the base image that was built here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from .. import __version__, names
from ..errors import EngineError, EngineUnavailable, ImageError, NotFound
from .client import Engine
from .translate import translated

_FRESH = 30.0
"""Seconds that a look-up is believed: an image's entry point seldom changes, launches come in crowds."""
_REFUSED = 20.0
"""Seconds that a failed pull is remembered, so that a crowd of launches fails at once."""
_INITS = {"init", "systemd", "s6-svscan", "runit", "runsvdir", "openrc-init"}
_SLEEP = ("sleep", "infinity")


@dataclass(frozen=True)
class Image:
    """An image that the engine has.

    Parameters
    ----------
    name : str
        The reference to make containers from.
    entrypoint, cmd : tuple of str
        Of its own configuration.
    user : str
        The account that its processes run under; empty is root.
    labels : mapping of str to str
        Its own; ``oblako.version`` and its kin where it was built here (``build.py``).
    """

    name: str
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    user: str = ""
    labels: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def stale(self) -> str:
        """The sentence for an image with another version of this package in it than the one that runs; else nothing."""
        version = self.labels.get(names.LABEL_VERSION, __version__)
        if version == __version__:
            return ""
        return (
            f"{self.name} was built by version {version}, and this is {__version__}; "
            f"build it again with: {build_command(self.labels.get(names.LABEL_IMAGE, ''))} --force"
        )

    @property
    def own_init(self) -> bool:
        """Whether its command is an init system that must be process 1 itself."""
        argv = self.entrypoint + self.cmd
        return bool(argv) and PurePosixPath(argv[0]).name in _INITS

    @property
    def command(self) -> tuple[str, ...] | None:
        """What to run in place of its command; None keeps the image's own ENTRYPOINT or init.

        A bare CMD is mostly a shell, which would end at once.
        """
        return None if self.entrypoint or self.own_init else _SLEEP


def build_command(which: str) -> str:
    """What makes an image of ours: ``base``, ``notebook`` or ``tiny``."""
    return f"oblako image build {which}".rstrip()


_BUILT_HERE = {names.BASE_IMAGE: "base", names.NOTEBOOK_IMAGE: "notebook"}
"""Never pulled: what a registry has under these names is a stranger's."""


def _words(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return tuple(str(item) for item in value) if isinstance(value, (list, tuple)) else ()


def local(engine: Engine, name: str) -> Image | None:
    """The image as the engine has it, or None."""
    # Podman keeps what was built here below localhost/ and looks a short name up at a registry.
    first = name.partition("/")[0] if "/" in name else ""
    registry = first == "localhost" or "." in first or ":" in first
    references = [name, f"localhost/{name}"] if engine.podman and not registry else [name]
    for reference in references:
        try:
            with translated(f"look at the image {name}"):
                config = engine.api.inspect_image(reference).get("Config") or {}
        except (ImageError, NotFound):
            continue
        return Image(
            reference,
            _words(config.get("Entrypoint")),
            _words(config.get("Cmd")),
            str(config.get("User") or ""),
            config.get("Labels") or {},
        )
    return None


def pull(engine: Engine, name: str, on_progress: Callable[[str], None] | None = None, *, timeout: float = 900) -> None:
    """Pull an image.

    Parameters
    ----------
    engine : Engine
    name : str
    on_progress : callable, optional
        Gets ``pulling amazonlinux:2023 45%`` now and then.
    timeout : float
        Seconds that the whole pull may take.

    Raises
    ------
    ImageError
        Where it can't be had.
    """
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        repository, tag = name, "latest"
    if "@" in name:
        repository, _, tag = name.partition("@")
    layers: dict[str, tuple[int, int]] = {}
    end = time.monotonic() + timeout
    try:
        with translated(f"pull {name}"):
            for step in engine.api.pull(repository, tag=tag, stream=True, decode=True):
                if "error" in step:
                    raise ImageError(f"can't pull {name}: {str(step['error']).rstrip('.')}.")
                if time.monotonic() > end:
                    raise ImageError(
                        f"can't pull {name}: it took more than {timeout:.0f} s; raise OBLAKO_PULL_TIMEOUT."
                    )
                detail = step.get("progressDetail") or {}
                if step.get("id") and detail.get("total"):
                    layers[step["id"]] = (int(detail.get("current") or 0), int(detail["total"]))
                if on_progress:
                    total = sum(size for _, size in layers.values())
                    done = sum(current for current, _ in layers.values())
                    on_progress(f"pulling {name} {100 * done // total}%" if total else f"pulling {name}")
    except (EngineUnavailable, ImageError):
        raise
    except EngineError as error:
        raise ImageError(str(error)) from error


class Resolver:
    """Turns the name of an image into an image that the engine has, for many launches at once.

    Parameters
    ----------
    pull_timeout : float
        Seconds that one pull may take.
    """

    def __init__(self, pull_timeout: float = 900) -> None:
        self._pull_timeout = pull_timeout
        self._lock = threading.Lock()
        self._pulls: dict[str, threading.Lock] = {}
        self._known: dict[str, tuple[float, Image]] = {}
        self._refused: dict[str, tuple[float, str]] = {}

    def forget(self, engine: Engine, name: str) -> None:
        """Look the image up afresh next time."""
        with self._lock:
            self._known.pop(f"{engine.url} {name}", None)

    def resolve(
        self, engine: Engine, name: str, *, fallback: bool, on_progress: Callable[[str], None] | None = None
    ) -> tuple[Image, str]:
        """Find the image, pull it, or take the base image that was built here.

        Parameters
        ----------
        engine : Engine
        name : str
        fallback : bool
            Whether the base image may stand in: not where somebody named this very image.
        on_progress : callable, optional

        Returns
        -------
        (Image, str)
            The image and, where another stands in or it is a stale one, the line that says so.

        Raises
        ------
        ImageError
            Where there is none; the sentence names the next step.
        """
        key = f"{engine.url} {name}"
        now = time.monotonic()
        with self._lock:
            hit = self._known.get(key)
            if hit and now - hit[0] < _FRESH:
                return hit[1], hit[1].stale
            pulling = self._pulls.setdefault(key, threading.Lock())
        with pulling:
            image = local(engine, name)
            refusal = "" if image else self._pull(engine, name, key, on_progress)
            image = image or (local(engine, name) if not refusal else None)
        if image:
            with self._lock:
                self._known[key] = (time.monotonic(), image)
            return image, image.stale
        if fallback:
            base = local(engine, names.BASE_IMAGE)
            if base:
                return base, f"{name} can't be pulled; {names.BASE_IMAGE}, built here, stands in."
            raise ImageError(f"{refusal.rstrip('.')}; build an image here with: oblako image build")
        if name in _BUILT_HERE:
            raise ImageError(refusal)
        raise ImageError(f"{refusal.rstrip('.')}; check its name, or name one that is here (%ec2 images lists them).")

    def _pull(self, engine: Engine, name: str, key: str, on_progress: Callable[[str], None] | None) -> str:
        """Pull; the sentence why it failed, or nothing."""
        if name in _BUILT_HERE:
            return f"{name} is not here; build it with: {build_command(_BUILT_HERE[name])}"
        refused = self._refused.get(key)
        if refused and time.monotonic() - refused[0] < _REFUSED:
            return refused[1]
        try:
            pull(engine, name, on_progress, timeout=self._pull_timeout)
        except ImageError as error:
            self._refused[key] = (time.monotonic(), str(error))
            return str(error)
        return ""


def built_here(engine: Engine) -> list[tuple[str, Mapping[str, str]]]:
    """(reference, labels) of the images that were built by ``oblako image build``."""
    with translated("list the images"):
        found = engine.api.images(filters={"label": [names.LABEL_IMAGE]})
    rows = [
        (str(tag).removeprefix("localhost/"), dict(image.get("Labels") or {}))
        for image in found
        for tag in image.get("RepoTags") or []
        if tag != "<none>:<none>"
    ]
    return sorted(rows, key=lambda row: row[0])


def names_here(engine: Engine) -> list[str]:
    """The references of all images that the engine has."""
    with translated("list the images"):
        found = engine.api.images()
    tags = (tag for image in found for tag in image.get("RepoTags") or [])
    return sorted(tag.removeprefix("localhost/") for tag in tags if tag != "<none>:<none>")
