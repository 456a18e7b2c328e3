"""All settings, read from the environment in one place.

The only I/O is ``Settings.from_env``; the dataclass itself is plain data.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from .errors import OblakoError

Via = Literal["auto", "direct", "relay"]
BACKENDS = ("docker", "podman", "colima")


def _flag(value: str | None, default: bool) -> bool:
    if value is None or value == "":
        return default
    return value.strip().lower() in {"1", "true", "yes", "on"}


def _labels(text: str) -> dict[str, str]:
    pairs = (item.partition("=") for item in text.split(",") if item.strip())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _whole(name: str, text: str | None, default: int, low: int, high: int) -> int:
    if not text:
        return default
    try:
        number = int(text)
    except ValueError:
        number = low - 1
    if not low <= number <= high:
        raise OblakoError(f"{name}={text} is not a whole number from {low} to {high}; set it right or unset it.")
    return number


def _endpoint(text: str | None) -> str:
    if not text:
        return ""
    try:
        parts = urlsplit(text.strip())
        good = parts.scheme == "http" and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise OblakoError(f"OBLAKO_ENDPOINT={text} is not of the form http://HOST:PORT; set it right or unset it.")
    return f"http://{parts.netloc}"


def _capacity(text: str | None) -> tuple[int, int] | Literal["host"] | None:
    word = (text or "off").strip().lower()
    if word == "off":
        return None
    if word == "host":
        return "host"
    cpus, _, memory = word.partition(":")
    if not (cpus.isdecimal() and memory.isdecimal()):
        raise OblakoError(f"OBLAKO_EC2_CAPACITY={text} is not known; use off, host or VCPUS:MIB, such as 8:16384.")
    return int(cpus), int(memory)


def _via(text: str | None) -> Via:
    word = (text or "auto").strip().lower()
    known: tuple[Via, ...] = ("auto", "direct", "relay")
    for via in known:
        if word == via:
            return via
    raise OblakoError(f"OBLAKO_PUBLISH_VIA={text} is not known; use auto, direct or relay.")


def default_state_dir() -> Path:
    """Where the control plane of this user keeps its state when nothing else is said."""
    # Imported here: platformdirs costs a few milliseconds that a set OBLAKO_STATE_DIR saves.
    from platformdirs import user_state_path

    return user_state_path("oblako", appauthor=False)


@dataclass(frozen=True)
class Settings:
    """What a user can set; each field names its environment variable.

    Parameters
    ----------
    state_dir : Path
        ``OBLAKO_STATE_DIR``. State, runtime file, lock and log of one control plane (mode 0700).
    backend : str or None
        ``OBLAKO_CONTAINER_BACKEND``: ``docker``, ``podman`` or ``colima``; None takes the first that answers.
    image : str or None
        ``OBLAKO_EC2_IMAGE``: the container image of instances that name none of their own.
    notebook_image : str or None
        ``OBLAKO_NOTEBOOK_IMAGE``: the container image of notebook instances that name none of their own;
        ``oblako/notebook:latest`` where it is not set, ``none`` makes notebook instances without containers.
    port : int
        ``OBLAKO_PORT``: the endpoint's port; 0 takes a free one and keeps it.
    endpoint : str
        ``OBLAKO_ENDPOINT``: the URL of a control plane that runs elsewhere, as in an instance that of its own cloud.
        None is started here then.
    endpoint_key : str
        ``OBLAKO_ENDPOINT_KEY``: the access key that it wants; ``AWS_ACCESS_KEY_ID`` by default.
    publish_host : str
        ``OBLAKO_PUBLISH_HOST``: the address that published ports listen on.
    publish_ports : tuple of int
        ``OBLAKO_PUBLISH_PORTS``: first and last host port to choose from, ``20000-29999``.
    publish_via : {"auto", "direct", "relay"}
        ``OBLAKO_PUBLISH_VIA``: how a port that is published on a running instance is reached: at the container's
        address, by way of a small container beside it, or whichever works.
    limits : bool
        ``OBLAKO_EC2_LIMITS``: off leaves out the CPU and memory limits of the instance type.
    synchronous : bool
        ``OBLAKO_EC2_SYNCHRONOUS``: on answers a write when its instances are at rest; for test suites written for moto.
    strict : bool
        ``OBLAKO_EC2_STRICT``: off lets launches name AMIs, instance types and key pairs that do not exist, like moto.
    capacity : (int, int), "host" or None
        ``OBLAKO_EC2_CAPACITY``: vCPUs and MiB that all instances may have together, ``VCPUS:MIB``; ``host`` takes the
        engine's; None (``off``) is no limit.
    terminated_visible : int
        ``OBLAKO_TERMINATED_VISIBLE``: seconds that a terminated instance is described.
    allow_reset : bool
        ``OBLAKO_ALLOW_RESET``: on lets moto's own ``/moto-api`` (reset among it) be called.
    allow_other_users : bool
        ``OBLAKO_ALLOW_OTHER_USERS``: on lets other users of this machine call the endpoint.
    require_key : bool
        ``OBLAKO_REQUIRE_KEY``: on wants the access key that ``oblako env`` prints, also where the system tells whose a
        connection is.
    labels : mapping of str to str
        ``OBLAKO_LABELS``: further labels, ``key=value,key=value``, on every container and volume.
    workers : int
        ``OBLAKO_WORKERS``: how many instances are worked on at once.
    resync : int
        ``OBLAKO_RESYNC``: seconds between two looks at everything, events or not.
    pull_timeout : int
        ``OBLAKO_PULL_TIMEOUT``: seconds that the pull of one image may take.
    """

    state_dir: Path
    backend: str | None = None
    image: str | None = None
    notebook_image: str | None = None
    port: int = 0
    endpoint: str = ""
    endpoint_key: str = field(default="", repr=False)
    publish_host: str = "127.0.0.1"
    publish_ports: tuple[int, int] = (20000, 29999)
    publish_via: Via = "auto"
    limits: bool = True
    synchronous: bool = False
    strict: bool = True
    capacity: tuple[int, int] | Literal["host"] | None = None
    terminated_visible: int = 3600
    allow_reset: bool = False
    allow_other_users: bool = False
    require_key: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    workers: int = 16
    resync: int = 30
    pull_timeout: int = 900

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the settings.

        Parameters
        ----------
        environ : mapping, optional
            The environment; ``os.environ`` by default.

        Raises
        ------
        OblakoError
            Where a value can't be used; the sentence names the variable.
        """
        env = os.environ if environ is None else environ
        backend = env.get("OBLAKO_CONTAINER_BACKEND") or None
        if backend is not None and backend not in BACKENDS:
            known = f"{', '.join(BACKENDS[:-1])} or {BACKENDS[-1]}"
            raise OblakoError(f"OBLAKO_CONTAINER_BACKEND={backend} is not known; use {known}, or unset it.")
        first, dash, last = (env.get("OBLAKO_PUBLISH_PORTS") or "20000-29999").partition("-")
        low = _whole("OBLAKO_PUBLISH_PORTS", first, 0, 1, 65535)
        high = _whole("OBLAKO_PUBLISH_PORTS", last, 0, low, 65535) if dash else low
        state_dir = env.get("OBLAKO_STATE_DIR")
        return cls(
            state_dir=Path(state_dir).expanduser() if state_dir else default_state_dir(),
            backend=backend,
            image=env.get("OBLAKO_EC2_IMAGE") or None,
            notebook_image=env.get("OBLAKO_NOTEBOOK_IMAGE") or None,
            port=_whole("OBLAKO_PORT", env.get("OBLAKO_PORT"), 0, 0, 65535),
            endpoint=_endpoint(env.get("OBLAKO_ENDPOINT")),
            endpoint_key=env.get("OBLAKO_ENDPOINT_KEY") or env.get("AWS_ACCESS_KEY_ID") or "",
            publish_host=env.get("OBLAKO_PUBLISH_HOST") or "127.0.0.1",
            publish_ports=(low, high),
            publish_via=_via(env.get("OBLAKO_PUBLISH_VIA")),
            limits=_flag(env.get("OBLAKO_EC2_LIMITS"), True),
            synchronous=_flag(env.get("OBLAKO_EC2_SYNCHRONOUS"), False),
            strict=_flag(env.get("OBLAKO_EC2_STRICT"), True),
            capacity=_capacity(env.get("OBLAKO_EC2_CAPACITY")),
            terminated_visible=_whole(
                "OBLAKO_TERMINATED_VISIBLE", env.get("OBLAKO_TERMINATED_VISIBLE"), 3600, 0, 30 * 86400
            ),
            allow_reset=_flag(env.get("OBLAKO_ALLOW_RESET"), False),
            allow_other_users=_flag(env.get("OBLAKO_ALLOW_OTHER_USERS"), False),
            require_key=_flag(env.get("OBLAKO_REQUIRE_KEY"), False),
            labels=_labels(env.get("OBLAKO_LABELS", "")),
            workers=_whole("OBLAKO_WORKERS", env.get("OBLAKO_WORKERS"), 16, 1, 64),
            resync=_whole("OBLAKO_RESYNC", env.get("OBLAKO_RESYNC"), 30, 1, 3600),
            pull_timeout=_whole("OBLAKO_PULL_TIMEOUT", env.get("OBLAKO_PULL_TIMEOUT"), 900, 1, 86400),
        )

    @property
    def runtime_file(self) -> Path:
        """JSON: where the running control plane listens."""
        return self.state_dir / "runtime.json"

    @property
    def lock_file(self) -> Path:
        """Held by the control plane as long as it lives."""
        return self.state_dir / "control-plane.lock"

    @property
    def log_file(self) -> Path:
        """The control plane's rotated log."""
        return self.state_dir / "control-plane.log"

    @property
    def state_file(self) -> Path:
        """The durable state."""
        return self.state_dir / "state.bin"
