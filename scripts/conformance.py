"""Run moto's own tests against our endpoint and against a plain moto server, and compare (``make conformance``).

The tests come with moto's source distribution, unpacked into a cache outside of this tree. A test that passes against
moto must pass here, or be listed in ``conformance.toml`` with the AWS document that says why AWS differs from moto.
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import functools
import importlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import uuid
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

from oblako_magic.controlplane import process
from oblako_magic.engine import build, connect
from oblako_magic.errors import OblakoError
from oblako_magic.settings import Settings
from scripts.setup_engine import say
from tests.support.sweep import RUN, sweep

ROOT = Path(__file__).resolve().parent.parent
RULES = ROOT / "scripts" / "conformance.toml"
PAGE = ROOT / "docs" / "conformance.md"
WHAT = ("tests/test_ec2", "tests/test_autoscaling", "tests/test_sagemaker/test_sagemaker_notebooks.py")
ENVIRONMENT = {
    "OBLAKO_ALLOW_RESET": "on",
    "OBLAKO_EC2_SYNCHRONOUS": "on",
    "OBLAKO_NOTEBOOK_IMAGE": "none",
    "OBLAKO_EC2_STRICT": "off",
    "OBLAKO_EC2_IMAGE": build.TINY_IMAGE,
}
"""Of our control plane: what suites written for moto need."""
PATIENCE = 300
"""Seconds that one test may take: one of them makes 51 groups with instances."""
_WORSE = {"passed": 0, "skipped": 1, "failed": 2}


@dataclass(frozen=True)
class Difference:
    """Tests that pass against moto and not here, and why that is right.

    Parameters
    ----------
    tests : tuple of str
        Node ids; ``*`` stands for anything.
    aws : str
        What AWS does, in a sentence.
    title, url : str
        The AWS document that says so.
    """

    tests: tuple[str, ...]
    aws: str
    title: str
    url: str

    def covers(self, test: str) -> bool:
        """Whether this is why the test fails here."""
        return any(fnmatch.fnmatchcase(test, pattern) for pattern in self.tests)


@dataclass(frozen=True)
class Rules:
    """The listed differences, and the tests of the short run."""

    differences: tuple[Difference, ...]
    short: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """What came of the two runs.

    Parameters
    ----------
    listed, unlisted : mapping of Difference to tests, list of str
        Tests that pass against moto and not here.
    idle : list of str
        Patterns of the list that no such test needs any more.
    """

    listed: Mapping[Difference, list[str]]
    unlisted: list[str]
    idle: list[str]


def read_rules(path: Path = RULES) -> Rules:
    """Read the list.

    Raises
    ------
    ValueError
        Where an entry lacks a part, or its document is not one of AWS.
    """
    try:
        toml: Any = importlib.import_module("tomllib")
    except ModuleNotFoundError:  # Python 3.10: pytest brings it along
        toml = importlib.import_module("tomli")
    raw = toml.loads(path.read_text(encoding="utf-8"))
    differences = []
    for entry in raw.get("difference", []):
        one = Difference(tuple(entry["tests"]), entry["aws"], entry["title"], entry["url"])
        if not (one.tests and one.aws and one.title and one.url.startswith("https://docs.aws.amazon.com/")):
            raise ValueError(f"{path.name}: {entry} does not say which AWS document it goes by")
        differences.append(one)
    return Rules(tuple(differences), tuple(raw["short"]))


def compare(here: Mapping[str, str], there: Mapping[str, str], rules: Rules) -> Comparison:
    """What passes there and not here, by the listed difference that says why."""
    lost = sorted(test for test, result in there.items() if result == "passed" and here.get(test) != "passed")
    listed: dict[Difference, list[str]] = {}
    unlisted = []
    for test in lost:
        reason = next((one for one in rules.differences if one.covers(test)), None)
        if reason is None:
            unlisted.append(test)
        else:
            listed.setdefault(reason, []).append(test)
    patterns = [(one, pattern) for one in rules.differences for pattern in one.tests]
    idle = [p for one, p in patterns if not fnmatch.filter(listed.get(one, []), p) and fnmatch.filter(there, p)]
    return Comparison(listed, unlisted, idle)


def read_junit(path: Path, tree: Path) -> dict[str, str]:
    """``passed``, ``failed`` or ``skipped`` of each test, by node id."""
    results: dict[str, str] = {}
    for case in ET.parse(path).getroot().iter("testcase"):
        parts = case.get("classname", "").split(".")
        depth = len(parts)
        while depth > 1 and not tree.joinpath(*parts[:depth]).with_suffix(".py").is_file():
            depth -= 1
        file = "/".join(parts[:depth]) + ".py"
        test = "::".join([file, *parts[depth:], case.get("name", "")])
        kinds = {child.tag for child in case}
        result = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        results[test] = max(result, results.get(test, result), key=_WORSE.__getitem__)
    return results


# -- moto's tests ---------------------------------------------------------------------------------------------


def fetch(moto: str, cache: Path) -> Path:
    """The folder with the tests of this version of moto, fetched once.

    Its ``moto`` folder is left out: the tests would import that one and not the installed.
    """
    tree = cache / f"moto-{moto}"
    if tree.is_dir():
        return tree
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as name:
        folder = Path(name)
        argv = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        argv += ["--no-binary", "moto", "--dest", str(folder), f"moto=={moto}"]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OblakoError(f"moto's source distribution can't be had: {(done.stderr or done.stdout).strip()[-500:]}")
        with tarfile.open(next(folder.glob("moto-*.tar.gz"))) as archive:
            wanted = [
                member
                for member in archive.getmembers()
                if member.isfile() and member.name.split("/", 1)[-1].startswith(("tests/", "pyproject.toml"))
            ]
            safe: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            archive.extractall(folder, members=wanted, **safe)
        unpacked = next(path for path in folder.iterdir() if path.is_dir())
        with contextlib.suppress(OSError):  # somebody else was quicker
            unpacked.rename(tree)
    return tree


@contextlib.contextmanager
def tests_running(
    tree: Path, endpoint: str, tests: Sequence[str], name: str, *, out: Path
) -> Iterator[Callable[[], dict[str, str]]]:
    """Moto's tests in server mode against an endpoint; what is given waits for their end and reads the results."""
    junit, log = out / f"{name}.xml", out / f"{name}.txt"
    junit.unlink(missing_ok=True)
    ours = ("OBLAKO_", "AWS_", "MOTO_", "PYTEST_", "PYTHONPATH")
    environ = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    environ |= {
        "TEST_SERVER_MODE": "true",
        "TEST_SERVER_MODE_ENDPOINT": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    argv = [sys.executable, "-m", "pytest", "-q", "--color=no", "--tb=short", "-p", "no:cacheprovider"]
    argv += [f"--timeout={PATIENCE}", f"--junit-xml={junit}", *tests]

    def results() -> dict[str, str]:
        client.wait()
        text = log.read_text(encoding="utf-8", errors="replace").strip()
        if not junit.exists():
            raise OblakoError(f"the tests against {name} did not run: {text[-2000:]}")
        say(f"{name}: {text.splitlines()[-1]}")
        return read_junit(junit, tree)

    with log.open("w", encoding="utf-8") as file:
        client = subprocess.Popen(
            argv, cwd=tree, env=environ, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
        )
    try:
        yield results
    finally:
        client.kill()
        client.wait()


# -- the two servers ------------------------------------------------------------------------------------------


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def plain_moto(out: Path) -> Iterator[str]:
    """A moto server as it is; its address."""
    port = _free_port()
    with (out / "moto-server.txt").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            cwd=out,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        end = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            if time.monotonic() > end or server.poll() is not None:
                raise OblakoError(f"the moto server does not answer; see {out / 'moto-server.txt'}")
            time.sleep(0.1)
        yield f"http://localhost:{port}"
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:  # there is nothing in it that a hard end could lose
            server.kill()
            server.wait()


@contextlib.contextmanager
def our_endpoint(out: Path) -> Iterator[str]:
    """A control plane of this run's own; its address. What it leaves in the engine is told, removed and an error."""
    label = f"{RUN}={uuid.uuid4().hex[:12]}"
    environ = {key: value for key, value in os.environ.items() if not key.startswith("OBLAKO_")}
    kept = "OBLAKO_CONTAINER_BACKEND"
    environ |= {kept: os.environ[kept]} if kept in os.environ else {}
    state = Path(tempfile.mkdtemp(prefix="oblako-conformance-"))
    environ |= ENVIRONMENT | {"OBLAKO_STATE_DIR": str(state / "s"), "OBLAKO_LABELS": label}
    settings = Settings.from_env(environ)
    engine = connect(settings)
    try:
        build.build_tiny(engine.api)
        with mock.patch.dict(os.environ, environ, clear=True):
            runtime = process.ensure(settings, 30)
        try:
            yield f"http://localhost:{runtime.port}"
            process_reset(runtime.port)
            left = sweep(engine.api, label)
            if left:
                raise OblakoError(f"left behind after the last reset: {', '.join(left[:5])}")
        finally:
            with contextlib.suppress(OSError):
                shutil.copy(settings.log_file, out / "control-plane.log")
            process.stop(settings)
    finally:
        sweep(engine.api, label)
        engine.close()
        shutil.rmtree(state, ignore_errors=True)


def process_reset(port: int) -> None:
    """Moto's reset, as its tests call it."""
    import requests

    requests.post(f"http://localhost:{port}/moto-api/reset", timeout=PATIENCE).raise_for_status()


# -- the report -----------------------------------------------------------------------------------------------


def counts(results: Mapping[str, str]) -> str:
    """``N passed, N failed, N skipped``."""
    number = Counter(results.values())
    return ", ".join(f"{number[word]} {word}" for word in ("passed", "failed", "skipped"))


def page(rules: Rules, moto: str, here: str, there: str) -> str:
    """The text of docs/conformance.md."""
    rows = [
        f"| {'<br>'.join(f'`{test}`' for test in one.tests)} | {one.aws} | [{one.title}]({one.url}) |"
        for one in rules.differences
    ]
    table = ["| moto's tests | AWS | says |", "|---|---|---|", *rows] if rows else ["None."]
    lines = [
        "# Conformance",
        "",
        "<!-- Written by `make conformance`; the differences are in scripts/conformance.toml. -->",
        "",
        f"moto {moto}'s own tests of EC2, Auto Scaling and SageMaker's notebook instances, in server mode, in one run:",
        "against this endpoint with a container behind every instance, and against a plain moto server.",
        "",
        "| endpoint | tests |",
        "|---|---|",
        f"| oblako_magic | {here} |",
        f"| moto's own server | {there} |",
        "",
        "The control plane ran with `" + " ".join(f"{key}={value}" for key, value in ENVIRONMENT.items()) + "`:",
        "moto's instances run at once and its checks are few, and its tests count on both.",
        "",
        "## Where AWS differs from moto",
        "",
        "Tests that pass against moto and fail here because AWS does otherwise.",
        "",
        *table,
        "",
    ]
    return "\n".join(lines)


def conform(tests: Sequence[str], rules: Rules, cache: Path, out: Path, *, whole: bool) -> int:
    """Run, compare, report; 0 where every difference is listed."""
    moto = version("moto")
    tree = fetch(moto, cache)
    begun = time.monotonic()
    with our_endpoint(out) as ours, plain_moto(out) as plain:
        run = functools.partial(tests_running, tree, out=out)
        with run(ours, tests, "oblako_magic") as first, run(plain, tests, "moto") as second:
            here, there = first(), second()
        found = compare(here, there, rules)
        if found.unlisted:
            # Some of moto's tests depend on the order, on luck or on the clock: by itself it must fail again.
            with run(ours, found.unlisted, "again") as third:
                again = third()
            here = {**here, **{test: result for test, result in again.items() if result == "passed"}}
            say(f"passed at the second try: {sum(result == 'passed' for result in again.values())}")
            found = compare(here, there, rules)
    say(f"oblako_magic: {counts(here)}")
    say(f"moto:         {counts(there)}")
    for one, lost in found.listed.items():
        say(f"as AWS does, {one.title}: {', '.join(lost)}")
    for test in found.idle:
        say(f"listed, but passes: {test}")
    for test in found.unlisted:
        say(f"UNLISTED DIFFERENCE {test}")
    if whole:
        PAGE.write_text(page(rules, moto, counts(here), counts(there)), encoding="utf-8")
    passed_here, passed_there = (Counter(run.values())["passed"] for run in (here, there))
    fewer = passed_here + sum(map(len, found.listed.values())) < passed_there
    say(f"{time.monotonic() - begun:.0f} s; logs and junit in {out}")
    return 1 if found.unlisted or fewer or not passed_there else 0


def main() -> int:
    """Parse the command line and run."""
    from platformdirs import user_cache_path

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tests", nargs="*", help=f"files or node ids; by default {' '.join(WHAT)}")
    parser.add_argument("--short", action="store_true", help="the few dozen of conformance.toml")
    parser.add_argument("--cache", type=Path, default=user_cache_path("oblako", appauthor=False) / "conformance")
    parser.add_argument("--out", type=Path, help="where logs and junit go; a temporary folder by default")
    args = parser.parse_args()
    out = args.out or Path(tempfile.mkdtemp(prefix="oblako-junit-"))
    out.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started here ends with it, and is swept
    try:
        rules = read_rules()
        tests = args.tests or (rules.short if args.short else WHAT)
        return conform(tests, rules, args.cache, out.resolve(), whole=not args.tests and not args.short)
    except OblakoError as error:
        say(str(error))
        return 1


if __name__ == "__main__":
    sys.exit(main())
