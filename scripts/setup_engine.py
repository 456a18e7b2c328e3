"""Make a container engine answer: use the one that runs, else install and start one where that is allowed.

Standard library and the package itself; every command is a list of words, none goes through a shell.

    python -m scripts.setup_engine                    for a person: says what to do, ends with 0
    python -m scripts.setup_engine --require --tools  for CI: installs the tests' tools, ends with 1 where it can't
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from oblako_magic.engine import Engine, connect
from oblako_magic.errors import EngineUnavailable, OblakoError
from oblako_magic.settings import Settings

DOCKER = ("docker.io", "iptables")
TOOLS = {
    "mmdebstrap": ("mmdebstrap",),
    "chromium": ("chromium",),
    "ip": ("iproute2",),
    # conmon, runc and the network plugins are what Podman recommends or needs; catatonit is its init.
    "podman": ("podman", "catatonit", "runc", "containernetworking-plugins"),
}
"""What the whole test run needs beside an engine: the command, and Debian's packages that bring it."""
DAEMON_PID = Path("/var/run/docker.pid")
DAEMON_LOG = Path("/var/log/oblako-dockerd.log")
WAIT = 60.0


def say(text: str) -> None:
    """Print a line now: whoever waits wants to see it."""
    print(text, flush=True)


def run(argv: Sequence[str], **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, without input, with its output kept."""
    return subprocess.run(
        list(argv),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, **environ},
        check=False,
    )


def can_install() -> bool:
    """Whether packages can be installed without asking: root on Debian or a kin of it."""
    return sys.platform == "linux" and os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(packages: Sequence[str]) -> bool:
    """Install Debian packages; the lists are fetched where they are missing or old."""
    argv = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *packages]
    for attempt in range(2):
        if attempt:
            run(["apt-get", "update", "-qq"])
        done = run(argv, DEBIAN_FRONTEND="noninteractive")
        if done.returncode == 0:
            return True
    say(f"apt-get install {' '.join(packages)} failed: {(done.stderr or done.stdout).strip()[-300:]}")
    return False


def answering(settings: Settings) -> Engine | None:
    """The engine that answers; None where none does."""
    try:
        return connect(settings)
    except EngineUnavailable:
        return None


def wait_for(settings: Settings, seconds: float) -> Engine | None:
    """Wait for an engine that is on its way."""
    end = time.monotonic() + seconds
    while True:
        engine = answering(settings)
        if engine or time.monotonic() > end:
            return engine
        time.sleep(0.3)


def start_docker(settings: Settings) -> Engine | None:
    """Start Docker's daemon: by systemd where that runs, else as a process of its own."""
    if Path("/run/systemd/system").is_dir() and run(["systemctl", "start", "docker"]).returncode == 0:
        engine = wait_for(settings, WAIT)
        if engine:
            return engine
    daemon = shutil.which("dockerd") or shutil.which("dockerd", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if daemon is None:
        return None
    # In a session of its own and with no stream of ours: whoever waits for the end of our output must not wait for it.
    with DAEMON_LOG.open("ab") as log:
        process = subprocess.Popen(
            [daemon], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, close_fds=True
        )
    end = time.monotonic() + WAIT
    while time.monotonic() < end and process.poll() is None:
        engine = answering(settings)
        if engine:
            return engine
        time.sleep(0.3)
    say(f"dockerd did not come up: {_last_line(DAEMON_LOG)} (all of it in {DAEMON_LOG})")
    if process.poll() is None:
        process.terminate()
    return None


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    return lines[-1].strip()[-300:] if lines else "it said nothing"


def ensure_engine(settings: Settings, pid_file: Path | None = None) -> Engine | None:
    """Find an engine, or install and start Docker where nothing else is asked for and this is root's Debian.

    Parameters
    ----------
    settings : Settings
        ``backend`` names the engine to use, if any.
    pid_file : Path, optional
        Gets the process id of a daemon that was started here.
    """
    engine = answering(settings)
    if engine:
        return engine
    if settings.backend not in (None, "docker") or not can_install():
        return None
    if shutil.which("dockerd") is None and shutil.which("dockerd", path="/usr/sbin") is None:
        say(f"installing {' and '.join(DOCKER)}")
        if not install(DOCKER):
            return None
    # The package may have started it already.
    engine = wait_for(settings, 1.0) or start_docker(settings)
    if engine and DAEMON_PID.exists():
        pid = DAEMON_PID.read_text().strip()
        say(f"started dockerd as process {pid}; it goes on until: kill {pid}")
        if pid_file:
            pid_file.write_text(pid)
    return engine


def ensure_tools() -> list[str]:
    """Install the tests' tools; those that are still missing."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing and can_install():
        say(f"installing {', '.join(missing)}")
        install([package for tool in missing for package in TOOLS[tool]])
        missing = [tool for tool in missing if shutil.which(tool) is None]
    return missing


def advice(settings: Settings) -> str:
    """What to do where no engine answers and none can be installed from here."""
    try:
        connect(settings).close()
    except OblakoError as error:
        return str(error)
    return ""


def main() -> int:
    """Run it as the module's docstring says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--require", action="store_true", help="end with 1 where anything is missing")
    parser.add_argument("--tools", action="store_true", help="also install what the tests need")
    parser.add_argument("--pid-file", type=Path, help="write the process id of a daemon that is started here")
    args = parser.parse_args()
    settings = Settings.from_env()
    engine = ensure_engine(settings, args.pid_file)
    problems = [] if engine else [advice(settings)]
    if engine:
        say(f"engine: {engine.title}")
        engine.close()
    if args.tools:
        problems += [f"{tool} is missing; install {' '.join(TOOLS[tool])}." for tool in ensure_tools()]
    for problem in problems:
        say(problem)
    return 1 if problems and args.require else 0


if __name__ == "__main__":
    sys.exit(main())
