"""Commands and files on instances, straight through the engine: AWS has no fast call for them."""

from __future__ import annotations

import codecs
import contextlib
import os
import secrets
import tarfile
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from .engine import Engine, streams
from .errors import EngineError, NotFound, OblakoError, WaitError
from .handles import ExecResult, Instance, Stats

_KEPT = 1 << 20
_MARK = "OBLAKO_EXEC"
_LONG_SCRIPT = 100_000
"""Bytes that one argument may safely have; Linux allows 128 KiB."""

# Every process of the command has the mark in its environment: no pid file, no wrapper around the command.
_KILL = f"""
look() {{
  for p in /proc/[0-9]*; do
    tr '\\0' '\\n' < "$p/environ" 2>/dev/null | grep -qx "{_MARK}=$1" && echo "${{p#/proc/}}"
  done
  return 0
}}
pids=$(look "$1")
[ -n "$pids" ] && kill -TERM $pids 2>/dev/null
n=0
while pids=$(look "$1") && [ -n "$pids" ]; do
  [ $n -ge 20 ] && kill -KILL $pids 2>/dev/null
  [ $n -ge 30 ] && exit 1
  n=$((n + 1))
  sleep 0.1 2>/dev/null || sleep 1
done
exit 0
"""
_REFUSED = 126
"""The exit code where an engine could not start the command at all; a command may have it, too."""
_NO_INTERPRETER = '[ -x "$2" ] || { echo "$2: the interpreter of the first line is not there" >&2; exit 127; }; '
_WITH_SHEBANG = (
    _NO_INTERPRETER + 'f=$(mktemp) && printf %s "$1" > "$f" && chmod 700 "$f" && { "$f"; c=$?; rm -f "$f"; exit $c; }'
)


class _Tail:
    """Decodes a stream piece by piece, hands it on and keeps its end, or all of it where nobody listens."""

    def __init__(self, listener: Callable[[str], None] | None) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._listener = listener
        self._parts: list[str] = []
        self._size = 0

    def feed(self, data: bytes, final: bool = False) -> None:
        text = self._decoder.decode(data, final)
        if not text:
            return
        self._parts.append(text)
        self._size += len(text)
        if self._listener is not None:
            while self._size > 2 * _KEPT and len(self._parts) > 1:
                self._size -= len(self._parts.pop(0))
            self._listener(text)

    def text(self) -> str:
        whole = "".join(self._parts)
        return whole if self._listener is None else whole[-_KEPT:]


def _interpreter(script: str) -> str:
    named = script.partition("\n")[0][2:].split()
    return named[0] if named else "/bin/sh"


def _argv(engine: Engine, instance: Instance, command: str | Sequence[str]) -> list[str]:
    if not isinstance(command, str):
        if not command:
            raise OblakoError("there is no command to run.")
        return [str(word) for word in command]
    if not command.startswith("#!") and len(command.encode()) < _LONG_SCRIPT:
        return ["/bin/sh", "-c", command]
    if len(command.encode()) < _LONG_SCRIPT:
        return ["/bin/sh", "-c", _WITH_SHEBANG, "sh", command, _interpreter(command)]
    name = f"oblako-{secrets.token_hex(6)}"
    data = (command if command.startswith("#!") else f"#!/bin/sh\n{command}").encode()
    streams.put_files(engine, instance.id, [(name, data, 0o755)], folder="/tmp")
    return ["/bin/sh", "-c", '"$1"; c=$?; rm -f "$1"; exit $c', "sh", f"/tmp/{name}"]


def execute(
    engine: Engine,
    instance: Instance,
    command: str | Sequence[str],
    *,
    user: str | None = None,
    env: Mapping[str, str] | None = None,
    workdir: str | None = None,
    timeout: float | None = None,
    on_stdout: Callable[[str], None] | None = None,
    on_stderr: Callable[[str], None] | None = None,
    interrupted: Callable[[], bool] | None = None,
) -> ExecResult:
    """Run a command on an instance to its end; ``Ec2.exec`` has the contract."""
    token = secrets.token_hex(8)
    argv = _argv(engine, instance, command)
    exec_id = streams.exec_create(
        engine, instance.id, argv, user=user or "", env={**(env or {}), _MARK: token}, workdir=workdir
    )
    out, err = _Tail(on_stdout), _Tail(on_stderr)
    over = threading.Event()
    timed_out = threading.Event()

    def guard() -> None:
        """Stop the command when its time is up or its handle says so."""
        waited = 0.0
        while not over.wait(0.1):
            waited += 0.1
            late = timeout is not None and waited >= timeout
            if late:
                timed_out.set()
            if late or (interrupted is not None and interrupted()):
                with contextlib.suppress(EngineError):
                    kill(engine, instance.id, token, user or "")
                return

    if timeout is not None or interrupted is not None:
        threading.Thread(target=guard, name=f"exec-{instance.id}", daemon=True).start()
    try:
        for stdout, stderr in streams.exec_output(engine, exec_id):
            out.feed(stdout)
            err.feed(stderr)
    except BaseException:
        # The kernel's interrupt, or a listener that failed: nobody hears the command any more.
        with contextlib.suppress(EngineError):
            kill(engine, instance.id, token, user or "")
        raise
    finally:
        over.set()
    out.feed(b"", True)
    err.feed(b"", True)
    if timed_out.is_set():
        raise WaitError(
            f"the command on {instance.label} did not end within {timeout:g} s and was stopped; give --timeout more."
        )
    code = _exit_code(engine, exec_id)
    if code == _REFUSED and (user or workdir):
        _check_place(engine, instance, user or "", workdir)
    return ExecResult(code, out.text(), err.text())


def _check_place(engine: Engine, instance: Instance, user: str, workdir: str | None) -> None:
    """Say it where the engine has started nothing for want of the user or the folder: it tells neither clearly."""

    def starts(user: str, workdir: str | None) -> bool:
        exec_id = streams.exec_create(engine, instance.id, ["/bin/sh", "-c", ":"], user=user, workdir=workdir)
        for _ in streams.exec_output(engine, exec_id):
            pass
        return _exit_code(engine, exec_id) != _REFUSED

    if user and not starts(user, None):
        raise OblakoError(f"{instance.label} has no user {user}; nothing was run.")
    if workdir and not starts(user, workdir):
        raise OblakoError(f"{instance.label} has no folder {workdir} that can be worked in; nothing was run.")


def _exit_code(engine: Engine, exec_id: str) -> int:
    pause = threading.Event()
    for _ in range(100):
        code = streams.exec_exit_code(engine, exec_id)
        if code is not None:
            return code
        pause.wait(0.02)
    return 0


def kill(engine: Engine, instance_id: str, token: str, user: str = "") -> None:
    """End every process of a command, politely and after two seconds for good; returns when none is left."""
    # Root in a container may not read another account's environments (it lacks CAP_SYS_PTRACE): the command's
    # own account looks first.
    for account in dict.fromkeys((user, "root")):
        streams.run(engine, instance_id, ["/bin/sh", "-c", _KILL, "sh", token], user=account)


def stats(engine: Engine, instance: Instance) -> Stats:
    """The figures of one instance."""
    first = streams.stats(engine, instance.id)
    before, now = first.get("precpu_stats") or {}, first
    if not before.get("system_cpu_usage"):  # Podman gives no reading before this one
        threading.Event().wait(0.25)
        before, now = first.get("cpu_stats") or {}, streams.stats(engine, instance.id)
    return _figures(instance, now, before)


def sample(engine: Engine, instance: Instance, before: dict[str, Any] | None) -> tuple[dict[str, Any], Stats]:
    """One quick reading and the figures since the one before: (reading to keep, figures)."""
    now = streams.stats(engine, instance.id, quick=True)
    last = before or {}
    return now.get("cpu_stats") or {}, _figures(instance, now, last)


def _figures(instance: Instance, now: dict[str, Any], before: dict[str, Any]) -> Stats:
    cpu = now.get("cpu_stats") or {}
    used = _number(cpu, "cpu_usage", "total_usage") - _number(before, "cpu_usage", "total_usage")
    known = float(before.get("system_cpu_usage") or 0)
    system = float(cpu.get("system_cpu_usage") or 0) - known if known else 0.0
    count = cpu.get("online_cpus") or len((cpu.get("cpu_usage") or {}).get("percpu_usage") or []) or 1
    memory = now.get("memory_stats") or {}
    cache = (
        (memory.get("stats") or {}).get("total_inactive_file") or (memory.get("stats") or {}).get("inactive_file") or 0
    )
    networks = (now.get("networks") or {}).values()
    return Stats(
        instance.id,
        instance.name,
        # A container that was restarted counts from 0 again.
        round(100.0 * max(0.0, used) / system * count, 1) if system > 0 else 0.0,
        max(0, int(memory.get("usage") or 0) - int(cache)),
        int(memory.get("limit") or 0),
        int((now.get("pids_stats") or {}).get("current") or 0),
        sum(int(net.get("rx_bytes") or 0) for net in networks),
        sum(int(net.get("tx_bytes") or 0) for net in (now.get("networks") or {}).values()),
    )


def _number(data: Mapping[str, Any], *path: str) -> float:
    for key in path:
        data = data.get(key) or {}
    return float(data) if isinstance(data, (int, float)) else 0.0


# -- files ------------------------------------------------------------------------------------------------


def upload(engine: Engine, source: Path, instance: Instance, path: str) -> int:
    """Copy a file or folder to an instance, as ``cp -r`` does; the bytes of content."""
    if not source.exists():
        raise NotFound(f"there is no {source} here to copy.")
    target = PurePosixPath(path)
    inside = streams.is_folder(engine, instance.id, path)
    folder, name = (path, source.resolve().name) if inside or path.endswith("/") else (str(target.parent), target.name)
    size = 0

    def count(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        nonlocal size
        size += entry.size if entry.isfile() else 0
        # The instance has no such accounts: what arrives is root's.
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = "root"
        return entry

    with tempfile.TemporaryFile() as buffer:
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            archive.add(source, arcname=name, filter=count)
        buffer.seek(0)
        streams.put_archive(engine, instance.id, folder, buffer)
    return size


def download(engine: Engine, instance: Instance, path: str, destination: Path) -> int:
    """Copy a file or folder from an instance, as ``cp -r`` does; the bytes of content."""
    with tempfile.TemporaryFile() as buffer:
        for piece in streams.get_archive(engine, instance.id, path):
            buffer.write(piece)
        buffer.seek(0)
        with tarfile.open(fileobj=buffer) as archive:
            members = archive.getmembers()
            if not members:
                return 0
            top = members[0].name.split("/")[0]
            target = destination / top if destination.is_dir() else destination
            if not target.parent.is_dir():
                raise NotFound(f"there is no folder {target.parent} here to copy into.")
            size = 0
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".oblako-") as work:
                for member in members:
                    size += member.size if member.isfile() else 0
                _extract(archive, Path(work))
                _move(Path(work) / top, target)
    return size


def _extract(archive: tarfile.TarFile, folder: Path) -> None:
    """Unpack what an instance sent: it is not trusted, no entry may leave the folder."""
    if hasattr(tarfile, "data_filter"):
        try:
            archive.extractall(folder, filter="data")
        except tarfile.SpecialFileError as error:
            raise OblakoError(f"the copy was refused, devices and pipes are not copied ({error}).") from error
        except tarfile.TarError as error:
            raise OblakoError(f"the copy was refused, it would write outside of its folder ({error}).") from error
        return
    for member in archive.getmembers():  # Python 3.10 and 3.11 before the filters
        parts = PurePosixPath(member.name).parts
        if not (member.isfile() or member.isdir()) or member.name.startswith("/") or ".." in parts:
            raise OblakoError(f"the copy was refused, {member.name} is no plain file or folder.")
        archive.extract(member, folder)


def _move(source: Path, target: Path) -> None:
    if source.is_dir() and target.is_dir():
        for child in source.iterdir():
            _move(child, target / child.name)
    else:
        os.replace(source, target)
