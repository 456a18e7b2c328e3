"""A Docker daemon of the tests' own that can be killed and started again; the machine's is neither asked nor touched.

It lives in a namespace of its own for processes and mounts: whatever happens, when the first process in there ends, the
kernel ends the daemon, its containerd, its shims and all of its containers, and unmounts what they mounted.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import docker
import requests.exceptions

TOOLS = ("dockerd", "containerd", "docker-init", "ip", "nsenter", "setpriv", "unshare")
WAIT = 60.0
"""Seconds that a start may take: it stops the containers that it finds running, ten seconds each where they resist."""
_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
_ENVIRON = {**os.environ, "PATH": _PATH}
_NETWORKS = ipaddress.ip_network("198.18.0.0/15")
"""For the daemon's bridge. Set aside for tests of network devices (RFC 2544): nothing else uses it."""


def lacking() -> str:
    """What this machine lacks for it; empty where it can run."""
    if os.name != "posix" or os.geteuid() != 0:
        return "a Docker daemon of its own takes root"
    tools = [name for name in TOOLS if shutil.which(name, path=_PATH) is None]
    return f"a Docker daemon of its own needs {', '.join(tools)}" if tools else ""


def _run(*argv: str, check: bool = True) -> str:
    done = subprocess.run(
        argv, check=check, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, env=_ENVIRON
    )
    return done.stdout


class Daemon:
    """The daemon; ``own_docker`` makes one.

    Parameters
    ----------
    root : Path
        Its folder; short, for a socket's path may have 107 bytes.
    bridge : str
    cgroup : str
    """

    def __init__(self, root: Path, bridge: str, cgroup: str) -> None:
        self._root = root
        self._holder = ExitStack()
        self._first = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._argv = [
            "dockerd",
            *("--config-file", str(root / "none.json")),
            *("--data-root", str(root / "data")),
            *("--exec-root", str(root / "exec")),
            *("--pidfile", str(root / "pid")),
            *("--host", f"unix://{root}/docker.sock"),
            *("--bridge", bridge),
            # No rule of the machine's firewall is touched: published ports are carried by docker-proxy.
            *("--iptables=false", "--ip6tables=false", "--ip-masq=false", "--ip-forward=false"),
            *("--cgroup-parent", cgroup, "--exec-opt", "native.cgroupdriver=cgroupfs"),
            *("--log-level", "warn"),
        ]
        (root / "none.json").write_text("{}")
        self.url = f"unix://{root}/docker.sock"

    def up(self, *options: str) -> None:
        """Start it and wait until it answers.

        Raises
        ------
        RuntimeError
            Where it does not, with what it said.
        """
        if not self._first:
            self._first = self._holder.enter_context(_namespace())
        # Those of a killed one: the number in the file may be another process's by now.
        (self._root / "pid").unlink(missing_ok=True)
        (self._root / "docker.sock").unlink(missing_ok=True)
        with (self._root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._inside(), *self._argv, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=_ENVIRON,
            )
        end = time.monotonic() + WAIT
        with closing(docker.APIClient(base_url=self.url, version="1.40", timeout=WAIT)) as client:
            while True:
                with suppress(requests.exceptions.RequestException):
                    client.ping()
                    return
                if self._process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"dockerd did not start: {self.log()}")
                time.sleep(0.02)

    def ensure(self) -> None:
        """Start it where it does not run."""
        if self._process is None or self._process.poll() is not None:
            self.up()

    def kill(self) -> None:
        """As kill -9 of it: its containerd goes with it, the containers run on without one to look after them."""
        self._signal("pid", signal.SIGKILL)
        self._wait()

    def kill_containerd(self) -> None:
        """Its containerd alone: it answers meanwhile, starts another one by itself, and is over it after all that."""
        self._signal("exec/containerd/containerd.pid", signal.SIGKILL)
        end = time.monotonic() + WAIT
        with closing(docker.APIClient(base_url=self.url, version="1.40", timeout=WAIT)) as client:
            while client.info()["ContainerdCommit"]["ID"] in ("", "N/A"):
                if time.monotonic() > end:
                    raise RuntimeError(f"dockerd has started no other containerd: {self.log()}")
                time.sleep(0.1)
        # What it was to stop meanwhile it waits for so long, before it helps itself ("trying direct SIGKILL").
        time.sleep(10)

    def crash(self) -> None:
        """As when the machine or the VM that it runs on loses its power: only what is on its disk is left."""
        self._holder.close()
        self._first = 0
        self._wait()
        shutil.rmtree(self._root / "exec")

    def stop(self) -> None:
        """As ``systemctl stop docker``: it stops its containers first."""
        self._signal("pid", signal.SIGTERM)
        self._wait()

    def close(self) -> None:
        """End it and all that it started."""
        self._holder.close()
        self._wait()

    def log(self, lines: int = 30) -> str:
        """The end of what it wrote."""
        with suppress(OSError):
            return "\n".join((self._root / "log").read_text(errors="replace").splitlines()[-lines:])
        return ""

    def _inside(self) -> Sequence[str]:
        return ("nsenter", "--target", str(self._first), "--mount", "--pid", "--")

    def _signal(self, file: str, number: signal.Signals) -> None:
        """To the process that a file names, in there."""
        _run(*self._inside(), "kill", f"-{number.name[3:]}", (self._root / file).read_text().strip())

    def _wait(self) -> None:
        if self._process is not None:
            self._process.wait(WAIT)


def _child(parent: int) -> int:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        if children:
            return int(children[0])
        time.sleep(0.01)
    raise RuntimeError("the namespace of the Docker daemon was not made")


@contextmanager
def _namespace() -> Iterator[int]:
    """The first process of new namespaces; it and all in them end with the block, or with this process."""
    # docker-init takes in the orphans of those that are killed.
    argv = "setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --mount-proc docker-init sleep infinity"
    process = subprocess.Popen(
        argv.split(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=_ENVIRON,
    )
    holder = 0
    try:
        holder = _child(process.pid)
        end = time.monotonic() + 10
        while Path(f"/proc/{holder}/comm").read_text().strip() != "docker-init":
            if time.monotonic() > end or process.poll() is not None:
                raise RuntimeError("the namespace of the Docker daemon did not come up")
            time.sleep(0.01)
        yield holder
    finally:
        process.kill()
        process.wait()
        if holder:
            _until_gone(holder)


def _until_gone(holder: int) -> None:
    """Wait for the end of a namespace: its first process is gone, or waits to be taken note of, when all others are."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{holder}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, IndexError):
            return
        if state == "Z":
            return
        time.sleep(0.01)
    raise RuntimeError("the Docker daemon's namespace does not end")


@contextmanager
def _bridge() -> Iterator[str]:
    name = f"oblako-t{os.getpid()}"[:15]
    # A network of 256 addresses for each process that may run now.
    address = _NETWORKS[os.getpid() % 512 * 256 + 1]
    _run("ip", "link", "delete", name, check=False)  # of a process that was killed and had this number
    _run("ip", "link", "add", name, "type", "bridge")
    try:
        _run("ip", "address", "add", f"{address}/24", "dev", name)
        _run("ip", "link", "set", name, "up")
        yield name
    finally:
        _run("ip", "link", "delete", name, check=False)


@contextmanager
def _cgroup() -> Iterator[str]:
    """The name of a control group; at the end it is removed from every hierarchy."""
    name = f"oblako-t{os.getpid()}"
    try:
        yield f"/{name}"
    finally:
        end = time.monotonic() + 10
        for top in [*Path("/sys/fs/cgroup").glob(name), *Path("/sys/fs/cgroup").glob(f"*/{name}")]:
            if top.parent.is_symlink():
                continue
            for folder, _, _ in os.walk(top, topdown=False):
                while Path(folder).exists():
                    try:
                        os.rmdir(folder)
                    except OSError:  # its last process is still on its way out
                        if time.monotonic() > end:
                            break
                        time.sleep(0.05)


@contextmanager
def own_docker(*options: str) -> Iterator[Daemon]:
    """A daemon that runs; nothing of it is left at the end.

    Parameters
    ----------
    options : str
        Further ones of dockerd's.

    Raises
    ------
    RuntimeError
        Where it does not come up.
    """
    # Not pytest's own folder: a socket's path may have 107 bytes. Not in memory: overlayfs wants a disk.
    root = Path(tempfile.mkdtemp(prefix="oblako-docker-"))
    try:
        with _cgroup() as cgroup, _bridge() as bridge, closing(Daemon(root, bridge, cgroup)) as daemon:
            daemon.up(*options)
            yield daemon
    finally:
        shutil.rmtree(root)
