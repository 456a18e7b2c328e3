"""Commands in an instance, its output, its figures and its files."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from .. import names
from ..errors import NotFound
from .client import Engine
from .translate import translated

_GO_DIRECTORY = 1 << 31
"""The directory bit of a mode as Go, in which the engines are written, has it."""


def exec_create(
    engine: Engine,
    instance_id: str,
    argv: Sequence[str],
    *,
    user: str = "",
    env: Mapping[str, str] | None = None,
    workdir: str | None = None,
    stdin: bool = False,
    tty: bool = False,
) -> str:
    """Prepare a command in the instance's container; the id to start it with."""
    with translated(f"run a command on {instance_id}"):
        made = engine.api.exec_create(
            names.container_name(instance_id),
            list(argv),
            stdin=stdin,
            tty=tty,
            user=user,
            environment=dict(env or {}),
            workdir=workdir,
        )
    return str(made["Id"])


def exec_detached(engine: Engine, instance_id: str, argv: Sequence[str], *, user: str = "root") -> str:
    """Start a command that nobody listens to; the id to ask about it, which is of no use on Podman before 5."""
    exec_id = exec_create(engine, instance_id, argv, user=user)
    with translated(f"run a command on {instance_id}"):
        engine.api.exec_start(exec_id, detach=True)
    return exec_id


def exec_output(engine: Engine, exec_id: str) -> Iterator[tuple[bytes, bytes]]:
    """Start a prepared command and yield (stdout, stderr) pieces as they come; one of a pair is empty."""
    with translated("follow a command's output"):
        for out, err in engine.api.exec_start(exec_id, stream=True, demux=True):
            yield out or b"", err or b""


def exec_exit_code(engine: Engine, exec_id: str) -> int | None:
    """The exit code of a command; None while it runs."""
    with translated("ask for a command's exit code"):
        result = engine.api.exec_inspect(exec_id)
    if result.get("Running"):
        return None
    code = result.get("ExitCode")
    return int(code) if code is not None else None


def run(engine: Engine, instance_id: str, argv: Sequence[str], *, user: str = "root") -> tuple[int, str]:
    """Run a short command to its end: (exit code, its output and errors together)."""
    exec_id = exec_create(engine, instance_id, argv, user=user)
    text = b"".join(out + err for out, err in exec_output(engine, exec_id))
    code = exec_exit_code(engine, exec_id)
    for _ in range(50):  # Podman may say Running for a moment after the stream's end
        if code is not None:
            break
        time.sleep(0.02)
        code = exec_exit_code(engine, exec_id)
    return (0 if code is None else code), text.decode(errors="replace")


def logs(engine: Engine, instance_id: str, *, tail: int | None = None) -> bytes:
    """What process 1 of the instance wrote."""
    with translated(f"read the output of {instance_id}"):
        return cast(
            bytes,
            engine.api.logs(
                names.container_name(instance_id), stdout=True, stderr=True, tail="all" if tail is None else tail
            ),
        )


def follow_logs(
    engine: Engine, instance_id: str, *, tail: int | None = None, on_open: Callable[[Any], None] | None = None
) -> Iterator[bytes]:
    """What process 1 of the instance writes, until it ends or the stream given to ``on_open`` is closed."""
    client = engine.stream_client()
    try:
        with translated(f"follow the output of {instance_id}"):
            stream = client.logs(
                names.container_name(instance_id),
                stdout=True,
                stderr=True,
                stream=True,
                follow=True,
                tail="all" if tail is None else tail,
            )
            if on_open:
                on_open(stream)
            yield from stream
    finally:
        client.close()


def stats(engine: Engine, instance_id: str, *, quick: bool = False) -> dict[str, Any]:
    """One reading of the container's figures.

    Parameters
    ----------
    engine : Engine
    instance_id : str
    quick : bool
        Without the reading before it, for which the engine takes about a second; an engine that can't gives both.
    """
    options = {"one_shot": True} if quick and not engine.podman and _at_least(engine.api.api_version, 1, 41) else {}
    with translated(f"read the figures of {instance_id}"):
        return cast(dict[str, Any], engine.api.stats(names.container_name(instance_id), stream=False, **options))


def _at_least(version: str, *wanted: int) -> bool:
    return tuple(int(part) for part in version.split(".") if part.isdigit()) >= wanted


def put_files(engine: Engine, instance_id: str, files: Iterable[tuple[str, bytes, int]], *, folder: str = "/") -> None:
    """Write files of root's into the container.

    Parameters
    ----------
    engine : Engine
    instance_id : str
    files : iterable of (path, content, mode)
        Paths below ``folder``.
    folder : str
        Must exist in the container.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, content, mode in files:
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size, entry.mode, entry.mtime = len(content), mode, int(time.time())
            archive.addfile(entry, io.BytesIO(content))
    put_archive(engine, instance_id, folder, buffer.getvalue())


def put_archive(engine: Engine, instance_id: str, folder: str, data: Any) -> None:
    """Unpack a tar archive (bytes or a readable file) in a folder of the container."""
    with translated(f"copy files to {instance_id}:{folder}"):
        engine.api.put_archive(names.container_name(instance_id), folder, data)


def get_archive(engine: Engine, instance_id: str, path: str) -> Iterator[bytes]:
    """The file or folder as a tar archive, in pieces."""
    with translated(f"copy {instance_id}:{path}"):
        stream, _ = engine.api.get_archive(names.container_name(instance_id), path)
        yield from stream


def is_folder(engine: Engine, instance_id: str, path: str) -> bool:
    """Whether the path is a folder in the container."""
    try:
        with translated(f"look at {instance_id}:{path}"):
            stream, stat = engine.api.get_archive(names.container_name(instance_id), path)
            stream.close()
    except NotFound:
        return False
    return bool(int(stat.get("mode", 0)) & _GO_DIRECTORY)


def read_file(engine: Engine, instance_id: str, path: str) -> bytes | None:
    """The content of one file in the container; None where there is none. Works on stopped containers, too."""
    try:
        data = b"".join(get_archive(engine, instance_id, path))
    except NotFound:
        return None
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        first = archive.next()  # of a folder that is the folder itself
        stream = archive.extractfile(first) if first is not None and first.isfile() else None
        return stream.read() if stream else None
