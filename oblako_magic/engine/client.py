"""Find a container engine and connect to it: Docker, Podman or Colima (Docker on another socket)."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import docker

from ..errors import EngineError, EngineUnavailable
from ..settings import Settings
from .translate import FOREIGN, translated

_TIMEOUT = 120
"""Seconds that one engine call may take: a stop waits for its grace period, a create for a busy disk."""
_PROBE_TIMEOUT = 10
_POOL = 64


@dataclass
class Engine:
    """A connected engine.

    Parameters
    ----------
    url : str
        Where it answers.
    api : docker.APIClient
        docker-py's low-level client; used from many threads at once.
    podman : bool
        Whether it is Podman's Docker API, whose quirks the callers must mind.
    version : str
    labels : mapping of str to str
        On everything that is made through this connection.
    run : str
        Names this run of the engine, so that another one can be told; empty where the engine does not show it.
    """

    url: str
    api: Any
    podman: bool
    version: str
    labels: Mapping[str, str] = field(default_factory=dict)
    run: str = ""

    def __post_init__(self) -> None:
        self.lock = threading.Lock()

    @property
    def title(self) -> str:
        """What a person reads in ``%ec2 status``."""
        return f"{'Podman' if self.podman else 'Docker'} {self.version} ({self.url})"

    @cached_property
    def host(self) -> tuple[float, int]:
        """The engine's CPUs and its memory in MiB."""
        with translated("ask the engine for its size"):
            info = self.api.info()
        return float(info.get("NCPU") or os.cpu_count() or 1), int(info.get("MemTotal") or 0) // (1 << 20)

    @cached_property
    def rootless(self) -> bool:
        """Whether it runs as a plain user, its containers in a network namespace that this host has no way into."""
        with translated("ask the engine how it runs"):
            info = self.api.info()
        return bool(info.get("Rootless")) or any("rootless" in option for option in info.get("SecurityOptions") or [])

    def stream_client(self) -> Any:
        """A client of its own without a read timeout, for events and follows that may be silent for hours."""
        return docker.APIClient(base_url=self.url, version=self.api.api_version, timeout=None)

    def confirm(self) -> None:
        """Ask over a new connection whether it is still the same run of the engine.

        One that is on its way down stops its containers while it still answers on the connections that it has.

        Raises
        ------
        EngineUnavailable
        """
        try:
            with translated("reach the container engine"):
                now = _probe(self.url, self.labels)
        except EngineError as error:  # one that does not answer in time among them
            raise EngineUnavailable(str(error)) from error
        now.close()
        if now.run != self.run:
            raise EngineUnavailable("the container engine was restarted.")

    def close(self) -> None:
        """Give up the connection."""
        self.api.close()


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a socket below a folder that this user may not enter
        return False


def _docker_context(home: Path) -> str | None:
    """The endpoint of the docker CLI's current context, which docker-py does not read by itself."""
    folder = Path(os.environ.get("DOCKER_CONFIG") or home / ".docker")
    try:
        name = os.environ.get("DOCKER_CONTEXT") or json.loads((folder / "config.json").read_text()).get(
            "currentContext"
        )
        if not name or name == "default":
            return None
        for meta in (folder / "contexts" / "meta").glob("*/meta.json"):
            data = json.loads(meta.read_text())
            if data.get("Name") == name:
                host = data.get("Endpoints", {}).get("docker", {}).get("Host")
                return str(host) if host else None
    except (OSError, ValueError, AttributeError):
        return None
    return None


def _docker_addresses(home: Path, runtime: Path) -> Iterator[str]:
    context = _docker_context(home)
    if context:
        yield context
    if sys.platform == "win32":
        yield "npipe:////./pipe/docker_engine"
    for path in (Path("/var/run/docker.sock"), runtime / "docker.sock", home / ".docker/run/docker.sock"):
        if _exists(path):
            yield f"unix://{path}"


def _podman_addresses(home: Path, runtime: Path) -> Iterator[str]:
    if sys.platform == "win32":
        yield "npipe:////./pipe/podman-machine-default"
    paths = [runtime / "podman/podman.sock", Path("/run/podman/podman.sock")]
    for path in [*paths, *sorted(home.glob(".local/share/containers/podman/machine/*/podman.sock"))]:
        if _exists(path):
            yield f"unix://{path}"


def candidates(backend: str | None) -> Iterator[str]:
    """The addresses where an engine may answer, the likeliest first.

    Parameters
    ----------
    backend : str or None
        ``docker``, ``podman``, ``colima`` or None for any.
    """
    home = Path.home()
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid() if sys.platform != 'win32' else 0}")
    if backend in (None, "docker"):
        if os.environ.get("DOCKER_HOST"):
            # As with the docker command: who names an engine does not mean another one that happens to answer.
            yield os.environ["DOCKER_HOST"]
        else:
            yield from _docker_addresses(home, runtime)
    if backend in (None, "colima"):
        colima = Path(os.environ.get("COLIMA_HOME") or home / ".colima")
        for path in (colima / "default/docker.sock", colima / "docker.sock"):
            if _exists(path):
                yield f"unix://{path}"
    if backend in (None, "podman"):
        if os.environ.get("CONTAINER_HOST"):
            yield os.environ["CONTAINER_HOST"]
        else:
            yield from _podman_addresses(home, runtime)


def _probe(url: str, labels: Mapping[str, str]) -> Engine:
    # Who is asked for its name answers at once, or is not well.
    api = docker.APIClient(base_url=url, version="auto", timeout=_PROBE_TIMEOUT, num_pools=4, max_pool_size=_POOL)
    version = api.version()
    api.timeout = _TIMEOUT
    components = {str(item.get("Name", "")) for item in version.get("Components") or []}
    podman = any("podman" in name.lower() for name in components)
    return Engine(url, api, podman, str(version.get("Version", "?")), dict(labels), "" if podman else _run_of(api))


def _run_of(api: Any) -> str:
    """Docker makes its default bridge anew at each start, unless containers have outlived it (live-restore)."""
    try:
        return str(api.inspect_network("bridge")["Id"])
    except docker.errors.NotFound:  # a daemon without a bridge
        return ""


def next_step(backend: str | None) -> str:
    """What to do when no engine answers, by what was asked for."""
    if backend == "podman":
        return "start its service (systemctl --user start podman.socket, or podman system service --time=0 &)"
    if backend == "colima":
        return "start it (colima start)"
    return "start Docker (sudo systemctl start docker, or Docker Desktop), or install docker.io or podman"


def connect(settings: Settings) -> Engine:
    """Connect to the first engine that answers.

    Raises
    ------
    EngineUnavailable
        Where none does; the sentence names the next step.
    """
    if settings.endpoint:
        raise EngineUnavailable(
            f"the container engine is not here but with the control plane ({settings.endpoint}); run it there."
        )
    tried: list[str] = []
    for url in candidates(settings.backend):
        if url in tried:
            continue
        tried.append(url)
        try:
            engine = _probe(url, settings.labels)
        except FOREIGN:
            continue
        if settings.backend == "podman" and not engine.podman:
            engine.close()
            continue
        return engine
    what = (settings.backend or "container engine").capitalize() if settings.backend else "container engine"
    where = f" at {', '.join(tried)}" if tried else ""
    raise EngineUnavailable(f"no {what} answers{where}; {next_step(settings.backend)}.")


def connect_url(url: str, settings: Settings) -> Engine:
    """Connect to the engine at this address: the one that the control plane uses.

    Raises
    ------
    EngineUnavailable
    """
    with translated("connect to the container engine"):
        return _probe(url, settings.labels)


def installed(settings: Settings) -> bool:
    """Whether there is any address where an engine could answer: else instances are simulated."""
    return settings.backend is not None or any(True for _ in candidates(settings.backend))
