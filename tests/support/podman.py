"""A Podman of the tests' own: its service, storage and networks are below one temporary folder.

A developer's containers and configuration are neither read nor touched.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

INITS = ("/usr/libexec/podman/catatonit", "/usr/bin/catatonit", "/usr/bin/docker-init", "/usr/bin/tini-static")


def _hard(kind: int, most: int) -> int:
    limit = resource.getrlimit(kind)[1]
    return most if limit == resource.RLIM_INFINITY else min(limit, most)


def _configuration(root: Path) -> str:
    """The containers.conf: by CONTAINERS_CONF it stands in for the machine's files."""
    runtime = "crun" if shutil.which("crun") else "runc"
    if not Path("/sys/fs/cgroup/cgroup.controllers").exists():
        runtime = "runc"  # cgroup v1: Debian's crun can't
    # The service lowers its own limit on processes to pid_max; a container can't get more than that.
    processes = _hard(resource.RLIMIT_NPROC, int(Path("/proc/sys/kernel/pid_max").read_text()))
    files = _hard(resource.RLIMIT_NOFILE, 1 << 20)
    init = next((path for path in INITS if Path(path).exists()), INITS[0])
    return f"""\
[engine]
runtime = "{runtime}"
cgroup_manager = "cgroupfs"
events_logger = "file"
init_path = "{init}"
tmp_dir = "{root}/libpod"
volume_path = "{root}/volumes"

[containers]
default_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]

[network]
network_config_dir = "{root}/networks"
"""


def _storage(root: Path) -> str:
    return f'[storage]\ndriver = "overlay"\ngraphroot = "{root}/storage"\nrunroot = "{root}/run"\n'


def _end_monitors(root: Path) -> None:
    """End the conmon processes of this storage: those of an exec wait for five minutes after its end."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            # Gone meanwhile, or another user's: not ours to end.
            with suppress(OSError):
                argv = (folder / "cmdline").read_bytes().split(b"\0")
                if argv[0].endswith(b"conmon") and any(word.startswith(os.fsencode(f"{root}/")) for word in argv):
                    os.kill(int(folder.name), signal.SIGKILL)


@contextmanager
def service() -> Iterator[str]:
    """Run ``podman system service`` and stop it at the end.

    Yields
    ------
    str
        The address of its Docker API.

    Raises
    ------
    RuntimeError
        Where it does not come up, with what it said.
    """
    # Not pytest's own folder: a socket's path may have 107 bytes.
    root = Path(tempfile.mkdtemp(prefix="oblako-podman-"))
    (root / "networks").mkdir()
    (root / "containers.conf").write_text(_configuration(root))
    (root / "storage.conf").write_text(_storage(root))
    environ = {
        **os.environ,
        "CONTAINERS_CONF": str(root / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(root / "storage.conf"),
    }
    for name in ("CONTAINER_HOST", "CONTAINERS_CONF_OVERRIDE"):
        environ.pop(name, None)
    socket = root / "podman.sock"
    with (root / "service.log").open("wb") as log:
        process = subprocess.Popen(
            ["podman", "system", "service", "--time=0", f"unix://{socket}"],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + 20
        while not socket.exists():
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"podman's service did not start: {(root / 'service.log').read_text()[-2000:]}")
            time.sleep(0.05)
        yield f"unix://{socket}"
    finally:
        quiet: dict[str, Any] = {"env": environ, "stdin": subprocess.DEVNULL, "capture_output": True}
        # All of this storage is this run's.
        subprocess.run(["podman", "rm", "--all", "--force", "--volumes", "--time=0"], check=False, timeout=120, **quiet)
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _end_monitors(root)
        subprocess.run(["umount", str(root / "storage/overlay")], check=False, timeout=30, **quiet)
        shutil.rmtree(root, ignore_errors=True)
