"""The one table that turns docker-py's and requests' errors into ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import docker.errors
import requests.exceptions
import urllib3.exceptions

from ..errors import EngineError, EngineUnavailable, HalfStarted, ImageError, NotFound, PortTaken

FOREIGN: tuple[type[Exception], ...] = (
    docker.errors.DockerException,
    docker.errors.StreamParseError,
    requests.exceptions.RequestException,
    urllib3.exceptions.HTTPError,
    OSError,
)
"""Every error that an engine call is known to raise; a test holds it against docker-py's own tree."""

_PORT_WORDS = ("port is already allocated", "address already in use", "ports are not available", "bind: ")
_BUSY_WORDS = (
    "removal of container",
    "is already in progress",
    "device or resource busy",
    "context deadline",
    "timeout",
    # Docker's containerd or a shim is away; it starts another one within some ten seconds.
    "containerd.sock",
    "error while dialing",
    "transport is closing",
    "ttrpc: closed",
)
_HALF_WORDS = ("id already in use", ": already exists", ": file exists: unknown")
"""What Docker says of a start when its containerd has the process, or the folder, of an earlier one."""
_NO_INIT = "container-init binary not found"
"""What Podman says where the program is missing that is process 1 of its containers."""
_DOWN_WORDS = (
    "connection refused",
    "connection aborted",
    "remotedisconnected",
    "no such file or directory",
    "broken pipe",
)


def translate(error: Exception, what: str) -> EngineError:
    """Our error for a foreign one.

    Parameters
    ----------
    error : Exception
        One of ``FOREIGN``.
    what : str
        What was tried, as it completes "can't ...".
    """
    text = str(getattr(error, "explanation", None) or error).strip().rstrip(".")
    low = text.lower()
    if isinstance(error, docker.errors.ImageNotFound) or (
        isinstance(error, docker.errors.NotFound) and ("no such image" in low or "image not known" in low)
    ):
        return ImageError(f"can't {what}: {text}.")
    if isinstance(error, docker.errors.NotFound):
        return NotFound(f"can't {what}: {text}.")
    if any(word in low for word in _PORT_WORDS):
        return PortTaken(f"can't {what}: a port that it publishes is in use ({text}).")
    if what.startswith("start ") and low.endswith(_HALF_WORDS):
        return HalfStarted(
            f"can't {what}: the engine was ended amid an earlier start of it and can't take that up again; "
            f"restart the engine's machine and start the instance then ({text})."
        )
    if _NO_INIT in low:
        return EngineError(f"can't {what}: Podman has no init for it; install catatonit and try again ({text}).")
    if isinstance(error, docker.errors.APIError):
        status = error.response.status_code if error.response is not None else 500
        return EngineError(
            f"can't {what}: {text}.", transient=any(word in low for word in _BUSY_WORDS) or status == 503
        )
    timed_out = isinstance(error, (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError))
    if timed_out and not any(word in low for word in _DOWN_WORDS):
        return EngineError(f"can't {what}: the container engine did not answer in time.", transient=True)
    return EngineUnavailable(f"can't {what}: the container engine does not answer; start it and try again.")


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Run engine calls; a foreign error comes out as ``can't <what>: ...``."""
    try:
        yield
    except EngineError:
        raise
    except FOREIGN as error:
        raise translate(error, what) from error
