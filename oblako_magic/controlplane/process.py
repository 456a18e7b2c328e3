"""Find, start and stop the control plane of this user: one process for all kernels and terminals.

The lock is held by the process as long as it lives, so that a stale runtime file is told from a live one
on every system and two starts at once leave one server.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..environment import TEST_KEY
from ..errors import ControlPlaneError, ControlPlaneTimeout
from ..settings import Settings
from . import elsewhere, peers
from .wire import API as API
from .wire import HEADER as HEADER
from .wire import KEY_HEADER as KEY_HEADER
from .wire import MAX_BODY as MAX_BODY
from .wire import PROTOCOL as PROTOCOL
from .wire import Runtime as Runtime
from .wire import call as call


def private_dir(path: Path) -> None:
    """Make the state directory, for this user alone."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.name == "posix":
            path.chmod(0o700)
    except OSError as error:
        raise ControlPlaneError(
            f"the state directory {path} can't be used ({error.strerror}); set OBLAKO_STATE_DIR to a folder of yours."
        ) from error


def write_private(path: Path, text: str) -> None:
    """Write a small file of mode 0600 in one step.

    Raises
    ------
    ControlPlaneError
        Where it can't be written; the old one is still there then.
    """
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        new.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> ControlPlaneError:
    return ControlPlaneError(
        f"{path} can't be written ({error.strerror}); free some space, or set OBLAKO_STATE_DIR to another folder."
    )


def write_runtime(settings: Settings, runtime: Runtime) -> None:
    """Say where the control plane listens."""
    write_private(settings.runtime_file, json.dumps(asdict(runtime)))


def read_runtime(settings: Settings) -> Runtime | None:
    """What the runtime file says, true or stale; None where there is none."""
    try:
        data = json.loads(settings.runtime_file.read_text())
        return Runtime(
            int(data["pid"]),
            int(data["port"]),
            str(data["version"]),
            int(data["protocol"]),
            str(data["host"]),
            str(data.get("key", "")),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def planned_port(settings: Settings) -> int:
    """The port of the endpoint, known before anything listens: the set one, the last one, or a free one."""
    if settings.port:
        return settings.port
    private_dir(settings.state_dir)
    memory = settings.state_dir / "port"
    port = _read_port(memory)
    if port:
        return port
    port = free_port()
    new = memory.with_name(f"port.{os.getpid()}.{threading.get_ident()}.new")
    write_private(new, str(port))
    try:
        # Linked, not written: of two first kernels one finds the file of the other, and it is whole.
        os.link(new, memory)
    except FileExistsError:
        other = _read_port(memory)
        if other:
            return other
        new.replace(memory)  # what is there makes no sense
    except OSError:
        new.replace(memory)  # a file system without links
    finally:
        new.unlink(missing_ok=True)
    return port


def url(settings: Settings) -> str:
    """The endpoint, known before anything answers there."""
    if settings.endpoint:
        return settings.endpoint
    runtime = read_runtime(settings)
    return runtime.url if runtime else f"http://127.0.0.1:{planned_port(settings)}"


def _read_port(memory: Path) -> int:
    """The remembered port; 0 where there is none that makes sense."""
    with contextlib.suppress(OSError, ValueError):
        port = int(memory.read_text())
        if 1024 <= port <= 65535:
            return port
    return 0


def remember_port(settings: Settings, port: int) -> None:
    """Plan with another port from now on: somebody else sits on the old one."""
    write_private(settings.state_dir / "port", str(port))


def needs_key(settings: Settings) -> bool:
    """Whether callers prove by a key whose they are: where the system does not tell it, or the user wants both."""
    return not settings.allow_other_users and (settings.require_key or not peers.available())


def access_key(settings: Settings) -> str:
    """The access key id that clients use: this user's secret where one is asked for, else any will do.

    Raises
    ------
    ControlPlaneError
        Where it can't be written.
    """
    if settings.endpoint:
        return settings.endpoint_key or TEST_KEY
    if not needs_key(settings):
        return TEST_KEY
    private_dir(settings.state_dir)
    path = settings.state_dir / "access-key"
    with contextlib.suppress(OSError):
        text = path.read_text().strip()
        if text:
            return text
    import secrets  # here, not above: most who look for the control plane need no key

    text = f"OBLAKO{secrets.token_hex(16).upper()}"
    new = path.with_name(f"access-key.{os.getpid()}.{threading.get_ident()}")
    write_private(new, text)
    try:
        os.link(new, path)  # of two first kernels one takes the other's
    except FileExistsError:
        return path.read_text().strip()
    except OSError:
        new.replace(path)  # a file system without links
    finally:
        new.unlink(missing_ok=True)
    return text


def locked(settings: Settings) -> bool:
    """Whether a control plane lives: it holds the lock."""
    from filelock import FileLock, Timeout

    if not settings.lock_file.exists():
        return False
    lock = FileLock(settings.lock_file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:
        return False
    lock.release()
    return False


def find(settings: Settings) -> Runtime | None:
    """The control plane that runs and answers; None where none does.

    Raises
    ------
    ControlPlaneError
        Where it runs but speaks another version of the API.
    """
    if settings.endpoint:
        return elsewhere.find(settings)
    runtime = read_runtime(settings)
    if runtime is None:
        return None
    try:
        answer = call(runtime, "GET", "/hello", timeout=5)
    except ControlPlaneTimeout:
        raise
    except ControlPlaneError:
        return None
    if answer.get("state_dir") != str(settings.state_dir):
        return None  # another one sits on the port of a stale file
    if answer.get("protocol") != PROTOCOL:
        raise ControlPlaneError(
            f"the control plane that runs is of another version ({answer.get('version')}); "
            "restart it with: oblako down && oblako up (instances keep running)"
        )
    # The file of a killed one leads to the new one for a moment: who answers knows better who it is.
    return replace(
        runtime, pid=int(answer.get("pid", runtime.pid)), version=str(answer.get("version", runtime.version))
    )


def start(settings: Settings) -> subprocess.Popen[bytes]:
    """Start a control plane, detached, without waiting; where one lives already the new one ends by itself."""
    if importlib.util.find_spec("moto") is None:
        raise ControlPlaneError(
            "no control plane can run here: the package moto is not installed, as in an instance; "
            "set OBLAKO_ENDPOINT to one that runs."
        )
    private_dir(settings.state_dir)
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "MOTO_"))}
    # -P and no current folder on the path: a notebook's own docker.py must not be what the server imports.
    argv = [sys.executable, "-m", "oblako_magic.controlplane"]
    if sys.version_info >= (3, 11):
        argv.insert(1, "-P")
    keywords: dict[str, Any] = {}
    if os.name == "nt":
        keywords["creationflags"] = subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP  # type: ignore[attr-defined,unused-ignore]
    else:
        keywords["start_new_session"] = True
    environ["OBLAKO_STATE_DIR"] = str(settings.state_dir)
    output = settings.state_dir / "control-plane.out"
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise _unwritable(output, error) from error
    try:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            cwd=settings.state_dir,
            env=environ,
            close_fds=True,
            **keywords,
        )
    finally:
        os.close(descriptor)


def ensure(settings: Settings, timeout: float = 30) -> Runtime:
    """The control plane that runs; started first where none does.

    Parameters
    ----------
    settings : Settings
    timeout : float
        Seconds to wait for its first answer.

    Raises
    ------
    ControlPlaneError
    """
    runtime = find(settings)
    if runtime is not None:
        return runtime
    if settings.endpoint:
        raise elsewhere.silent(settings)
    child = None if locked(settings) else start(settings)
    return wait(settings, timeout, child)


def wait(settings: Settings, timeout: float = 30, child: subprocess.Popen[bytes] | None = None) -> Runtime:
    """Wait for a control plane that is on its way.

    Parameters
    ----------
    settings : Settings
    timeout : float
        Seconds.
    child : subprocess.Popen, optional
        What ``start`` gave: where it ends with an error nobody waits any longer.

    Raises
    ------
    ControlPlaneError
        Where it could not start, with what it said.
    ControlPlaneTimeout
        With the last line of what it said.
    """
    if settings.endpoint:
        return ensure(settings)
    end = time.monotonic() + timeout
    restarted = False
    begun = time.monotonic()
    while time.monotonic() < end:
        runtime = find(settings)
        if runtime is not None:
            return runtime
        if child is not None and child.poll():
            raise ControlPlaneError(f"the control plane could not start: {last_words(settings)}")
        if not restarted and time.monotonic() - begun > 5 and not locked(settings):
            restarted = True  # it was on its way down when we looked
            start(settings)
        time.sleep(0.05)
    raise ControlPlaneTimeout(
        f"the control plane did not answer within {timeout:.0f} s ({last_words(settings)}); see {settings.log_file}"
    )


def last_words(settings: Settings) -> str:
    """The last line that the control plane wrote; where it could write none, why."""
    with contextlib.suppress(OSError):
        if shutil.disk_usage(settings.state_dir).free < 1 << 16:
            return f"no space is left for {settings.state_dir}; free some"
    for path in (settings.state_dir / "control-plane.out", settings.log_file):
        with contextlib.suppress(OSError):
            lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
            if lines:
                return lines[-1].strip()[:200]
    return "it wrote nothing"


def stop(settings: Settings, timeout: float = 30) -> bool:
    """Stop the control plane; the instances keep running.

    Returns
    -------
    bool
        False where none was running.

    Raises
    ------
    ControlPlaneTimeout
    ControlPlaneError
        Where it runs elsewhere.
    """
    if settings.endpoint:
        raise ControlPlaneError(f"the control plane at {settings.endpoint} runs elsewhere; stop it there.")
    runtime = read_runtime(settings)
    if runtime is None or not locked(settings):
        settings.runtime_file.unlink(missing_ok=True)
        return False
    with contextlib.suppress(ControlPlaneError):
        call(runtime, "POST", "/stop", {})
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if not locked(settings):
            return True
        time.sleep(0.03)
    raise ControlPlaneTimeout(f"the control plane (process {runtime.pid}) does not end; see {settings.log_file}")
