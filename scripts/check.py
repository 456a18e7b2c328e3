"""Run every check of the project, in two lanes, and sum up (``make test``).

Ends with ``N passed, N failed`` on a line of its own: pytest's counts, and one for each other step.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from scripts.setup_engine import say

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
MINORS = range(10, 15)
OLDEST_IPYTHON = "ipython==8.12.*"
TEST_TOOLS = ("pytest>=8,<10", "pytest-timeout>=2.3,<3", "hypothesis>=6.100,<7", "ipykernel>=6.29,<7")
"""What the front ends' tests need beside the package, for the oldest IPython that is supported."""
LIMIT = 1200.0
"""Seconds that one command may take; one that hangs must not take the rest with it."""
PLANE_TESTS = ("tests/controlplane", "tests/faults", "tests/roads")
"""Half of the tests by time: they run beside the others."""
IN_CI = bool(os.environ.get("CI"))
FAILURE = re.compile(r"(?:FAILED|ERROR) \S+.*")
"""How pytest's short summary names a test that failed, and why."""
COUNT = re.compile(r"(\d+) (passed|failed|errors?|skipped|xfailed|deselected)\b")


@dataclass
class Outcome:
    """What one step came to."""

    name: str
    passed: int = 0
    failed: int = 0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)


@dataclass
class Checks:
    """The steps and what came of them."""

    environ: Mapping[str, str]
    outcomes: list[Outcome] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)
    _lane: threading.local = field(default_factory=threading.local)
    _running: list[subprocess.Popen[str]] = field(default_factory=list)
    _interrupted: bool = False

    def say(self, text: str) -> None:
        """Print, with the lane's name where several run at once."""
        lane = getattr(self._lane, "name", "")
        say("\n".join(f"{lane}| {line}" for line in text.split("\n")) if lane else text)

    def together(self, **lanes: Callable[[], None]) -> None:
        """Do several things at once, one core for each: most tests wait more than they compute.

        Parameters
        ----------
        **lanes : callable
            Each runs its steps one after the other.
        """

        def run(name: str, work: Callable[[], None]) -> None:
            self._lane.name = name
            work()

        with ThreadPoolExecutor(len(lanes)) as pool:
            try:
                for done in [pool.submit(run, name, work) for name, work in lanes.items()]:
                    done.result()
            except BaseException:
                self._interrupted = True  # the lanes' next commands end as this one does
                for process in list(self._running):
                    os.killpg(process.pid, signal.SIGTERM)
                raise

    def command(self, argv: Sequence[str], **environ: str) -> tuple[int, str]:
        """Run a command, show its output while it comes, and return its exit code and output."""
        if self._interrupted:
            raise RuntimeError("interrupted")
        process = subprocess.Popen(
            list(argv),
            cwd=ROOT,
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._running.append(process)
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            os.killpg(process.pid, signal.SIGTERM)

        timer = threading.Timer(LIMIT, expire)
        timer.start()
        output: list[str] = []
        assert process.stdout is not None
        try:
            for line in process.stdout:
                output.append(line)
                self.say(line.rstrip("\n"))
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            raise
        finally:
            code = process.wait()
            timer.cancel()
            self._running.remove(process)
        if expired.is_set():
            code = code or 1  # it may have ended well, but not the whole of it
            self.say(f"ended after {LIMIT:.0f} s: {' '.join(argv)}")
        return code, "".join(output)

    def step(self, name: str, work: Callable[[], Outcome]) -> None:
        """Run one step; an error of its own is a failure like any other."""
        self.say(f"\n=== {name}")
        begun = time.monotonic()
        try:
            outcome = work()
        except Exception as error:  # whatever it is, the other steps still have something to tell
            self.say(f"{type(error).__name__}: {error}")
            outcome = Outcome(name, failed=1)
        outcome.name, outcome.seconds = name, time.monotonic() - begun
        self.outcomes.append(outcome)

    def simple(self, name: str, argv: Sequence[str], **environ: str) -> None:
        """Run a step that is one command, right or wrong."""

        def work() -> Outcome:
            code, _ = self.command(argv, **environ)
            return Outcome(name, passed=int(code == 0), failed=int(code != 0))

        self.step(name, work)

    def pytest(self, name: str, arguments: Sequence[str], python: str = PYTHON, **environ: str) -> None:
        """Run a step that is a pytest run, with its own counts."""

        def work() -> Outcome:
            code, output = self.command([python, "-m", "pytest", *arguments], **environ)
            counts: dict[str, int] = {}
            for line in reversed(output.splitlines()):
                found = COUNT.findall(line)
                if found and " in " in line:
                    counts = {word.rstrip("s") if word.startswith("error") else word: int(n) for n, word in found}
                    break
            failed = counts.get("failed", 0) + counts.get("error", 0)
            # Ended badly without a failed test (nothing collected, a skip in CI, killed): that is a failure, too.
            failures = [line for line in output.splitlines() if FAILURE.fullmatch(line)]
            return Outcome(name, counts.get("passed", 0), failed or int(code != 0), failures=failures)

        self.step(name, work)

    def summary(self) -> int:
        """Print what came of it; returns the exit code."""
        say("\n=== summary")
        for outcome in self.outcomes:
            word = "FAILED" if outcome.failed else "ok"
            say(
                f"{word:7} {outcome.name:44} {outcome.seconds:5.0f} s  {outcome.passed} passed, {outcome.failed} failed"
            )
            # Once more at the end, where somebody who has only the last lines finds it.
            for line in outcome.failures:
                say(f"        {line[:300]}")
        passed, failed = (sum(getattr(outcome, word) for outcome in self.outcomes) for word in ("passed", "failed"))
        say(f"{time.monotonic() - self.begun:.0f} s in all")
        say(f"{passed} passed, {failed} failed")
        return 1 if failed or not passed else 0


def interpreters() -> dict[int, str]:
    """The Pythons on this machine that we support, by their minor version."""
    found: dict[int, str] = {}
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for minor in MINORS:
        places = [
            shutil.which(f"python3.{minor}"),
            *map(str, sorted(pyenv.glob(f"3.{minor}.*/bin/python"), reverse=True)),
        ]
        for place in filter(None, places):
            probe = [place, "-c", "import ensurepip, sys; print(sys.version_info[1])"]
            answer = subprocess.run(probe, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
            if answer.stdout.strip() == str(minor):
                found[minor] = place
                break
    return found


def build_wheel(checks: Checks, folder: Path) -> Path:
    """Build the source distribution and, of that, the wheel."""
    code, _ = checks.command([PYTHON, "-m", "build", "--outdir", str(folder), str(ROOT)])
    if code:
        raise RuntimeError("the wheel can't be built")
    return next(folder.glob("*.whl"))


def try_python(python: str, what: Sequence[str], folder: Path) -> tuple[bool, str]:
    """Install into an empty environment and use it there; True and its words where all went well."""
    bin_dir = folder / ("Scripts" if os.name == "nt" else "bin")
    check = "import oblako_magic, IPython, sys; print(sys.version.split()[0], 'IPython', IPython.__version__)"
    # Not in the source tree and without PYTHONPATH: there the package would be found without being installed.
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    said: list[str] = []
    for argv in (
        [python, "-m", "venv", str(folder)],
        [str(bin_dir / "pip"), "install", "--quiet", "--no-compile", "--disable-pip-version-check", *what],
        [str(bin_dir / "pip"), "check", "--disable-pip-version-check"],
        [str(bin_dir / "python"), "-c", check],
        [str(bin_dir / "oblako"), "--version"],
    ):
        done = subprocess.run(
            argv,
            cwd=folder.parent,
            env=environ,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=LIMIT,
        )
        if done.returncode:
            return False, f"{' '.join(argv)}: {(done.stderr or done.stdout).strip()[-600:]}"
        said.append(done.stdout.strip())
    return True, ", ".join(filter(None, said))


def packaging(checks: Checks, folder: Path) -> Outcome:
    """Install the wheel on every Python that is here, the source tree on the newest."""
    wheel = build_wheel(checks, folder)
    pythons = interpreters()
    if not pythons:
        raise RuntimeError("no Python with ensurepip was found")
    oldest, newest = min(pythons), max(pythons)
    jobs: list[tuple[str, str, list[str]]] = []
    for minor, path in pythons.items():
        tools = [OLDEST_IPYTHON, *TEST_TOOLS] if minor == oldest else []
        if minor != newest or oldest == newest:
            jobs.append((f"wheel on 3.{minor}", path, [str(wheel), *tools]))
    jobs.append((f"source tree on 3.{newest}", pythons[newest], [str(ROOT)]))
    outcome = Outcome("packaging")
    with ThreadPoolExecutor(2) as pool:
        results = pool.map(lambda job: try_python(job[1], job[2], folder / job[0].replace(" ", "-")), jobs)
        for (name, _, _), (good, text) in zip(jobs, results, strict=True):
            checks.say(f"{name}: {text}")
            outcome.passed += good
            outcome.failed += not good
    return outcome


def lint(checks: Checks) -> None:
    """Style, types and layers."""
    tools = Path(PYTHON).parent
    checks.simple("ruff check", [str(tools / "ruff"), "check", "--output-format=concise", "."])
    checks.simple("ruff format", [str(tools / "ruff"), "format", "--check", "."])
    checks.simple("mypy --strict", [str(tools / "mypy")])
    checks.simple("import-linter", [str(tools / "lint-imports")])


def notebooks(checks: Checks) -> None:
    """Execute the tutorial notebooks twice and compare their outputs with the stored ones."""
    paths = sorted(str(path) for path in (ROOT / "notebooks").glob("*.ipynb"))
    arguments = ["--nbval", "--nbval-current-env", "-p", "no:cacheprovider", "--timeout=300", "-q", *paths]
    rules = ROOT / "notebooks" / "sanitize.cfg"
    if rules.exists():
        arguments.append(f"--nbval-sanitize-with={rules}")
    with tempfile.TemporaryDirectory(prefix="oblako-ipython-") as folder:
        # A wait that takes a little longer on a slow machine must not add an output to a cell.
        profile = Path(folder) / "profile_default"
        profile.mkdir()
        (profile / "ipython_config.py").write_text("c.Ec2Magics.progress = False\n")
        for number in ("first", "second"):
            checks.pytest(f"notebooks, {number} run", arguments, IPYTHONDIR=folder)


def sweep(label: str, environ: Mapping[str, str]) -> None:
    """Stop the control plane of these checks and remove what it made."""
    oblako = str(Path(PYTHON).parent / "oblako")
    subprocess.run([oblako, "down"], env=dict(environ), stdin=subprocess.DEVNULL, capture_output=True, check=False)
    code = (
        "import sys; from oblako_magic.engine import connect; from oblako_magic.settings import Settings;"
        "from tests.support.sweep import sweep; print(*sweep(connect(Settings.from_env()).api, sys.argv[1]), sep='\\n')"
    )
    argv = [PYTHON, "-c", code, f"oblako.test-run={label}"]
    subprocess.run(argv, cwd=ROOT, env=dict(environ), stdin=subprocess.DEVNULL, capture_output=True, check=False)


def main() -> int:
    """Run all steps, or those that are named."""
    steps = ("setup", "lint", "packaging", "tests", "conformance", "notebooks", "demo")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"of {', '.join(steps)}; all by default")
    parser.add_argument("--pid-file", type=Path, help="write the process id of a daemon that is started here")
    args = parser.parse_args()
    wanted = args.steps or steps
    if not set(wanted) <= set(steps):
        parser.error(f"the steps are {', '.join(steps)}")
    # Where a shell runs this in the background, Ctrl-C is ignored, and would be by all the tests that press it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    label = uuid.uuid4().hex[:12]
    with tempfile.TemporaryDirectory(prefix="oblako-check-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        # Notebooks and the demo get a control plane of their own, away from the developer's.
        environ = {
            **os.environ,
            "OBLAKO_STATE_DIR": str(folder / "state"),
            "OBLAKO_LABELS": f"oblako.test-run={label}",
        }
        checks = Checks(environ)
        try:
            if "setup" in wanted:
                require = ["--require"] if IN_CI else []
                pid_file = ["--pid-file", str(args.pid_file)] if args.pid_file else []
                checks.simple(
                    "engine and tools", [PYTHON, "-m", "scripts.setup_engine", "--tools", *require, *pid_file]
                )
            if {"setup", "notebooks"} & set(wanted):
                for image in ("base", "notebook"):
                    checks.simple(f"{image} image", [str(Path(PYTHON).parent / "oblako"), "image", "build", image])
            if "lint" in wanted:
                lint(checks)

            def plane() -> None:
                if "tests" in wanted:
                    checks.pytest("tests of the control plane", ["--durations=10", *PLANE_TESTS])
                if "conformance" in wanted:
                    checks.simple("conformance, short", [PYTHON, "-m", "scripts.conformance", "--short"])
                if "packaging" in wanted:
                    checks.step("wheel and pip install", lambda: packaging(checks, folder))
                    oldest = next(iter(sorted(folder.glob("wheel-on-3.*"), key=lambda path: int(path.name[11:]))), None)
                    if oldest:
                        python = str(oldest / "bin" / "python")
                        front = ["-q", "--durations=3", "tests/frontends"]
                        checks.pytest(f"front ends on {OLDEST_IPYTHON}", front, python)

            def rest() -> None:
                if "tests" in wanted:
                    ignored = [f"--ignore={path}" for path in PLANE_TESTS]
                    checks.pytest("tests of all the rest", ["--durations=10", *ignored])
                if "notebooks" in wanted:
                    notebooks(checks)

            checks.together(plane=plane, rest=rest)
            if "demo" in wanted:
                checks.simple("demo", [PYTHON, "-m", "scripts.demo"])
        finally:
            sweep(label, environ)
    return checks.summary()


if __name__ == "__main__":
    sys.exit(main())
