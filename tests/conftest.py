"""Fixtures for everything that needs an engine or a control plane.

Tests look at a real engine. All that they make carries the label ``oblako.test-run=<run_label>`` and is
removed at the end of the session, also after a failure; nothing else is.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NoReturn

import pytest

from oblako_magic.engine import Engine, build, connect
from oblako_magic.errors import OblakoError
from oblako_magic.settings import Settings
from tests.support import podman
from tests.support.plane import ControlPlane, running
from tests.support.sweep import PLANE, RUN, sweep

IN_CI = bool(os.environ.get("CI"))
ENGINES = ("docker", "podman")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--engine", choices=ENGINES, default="docker", help="the engine of tests that need one, whichever")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test marked both_engines runs once on each."""
    if metafunc.definition.get_closest_marker("both_engines") and "engine_backend" in metafunc.fixturenames:
        params = [pytest.param(name, marks=[pytest.mark.podman] if name == "podman" else []) for name in ENGINES]
        metafunc.parametrize("engine_backend", params, indirect=True, scope="session")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "engine_backend" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.engine)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """On a failure show the logs that say why: the control plane's and its containers'."""
    outcome: Any = yield
    report: pytest.TestReport = outcome.get_result()
    if not report.failed:
        return
    for plane in {id(value): value for value in getattr(item, "funcargs", {}).values()}.values():
        if isinstance(plane, ControlPlane):
            report.sections.append(("control plane's log", plane.log()))
            with suppress(Exception):  # the engine may be what failed
                report.sections += [(f"container {name}", text) for name, text in plane.container_logs().items()]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a skipped test is a failure: the set-up there must provide everything."""
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    if IN_CI and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def missing(what: str) -> NoReturn:
    """Skip a test for what this machine lacks; in CI fail."""
    if IN_CI:
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


def pytest_configure() -> None:
    """End as at Ctrl-C where the checks take too long: what was made is swept."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(scope="session")
def run_label() -> str:
    """The id of this session, the value of the label on all that it makes."""
    return uuid.uuid4().hex[:12]


@pytest.fixture(scope="session", autouse=True)
def own_environment(run_label: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[pytest.MonkeyPatch]:
    """Keep the developer's control plane, AWS profile and Jupyter out of the tests, and label all that is made."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [key for key in os.environ if key.startswith(("OBLAKO_", "AWS_")) and key != "AWS_CA_BUNDLE"]:
            patch.delenv(name)
        patch.setenv("OBLAKO_STATE_DIR", str(home / "state"))
        patch.setenv("OBLAKO_LABELS", f"{RUN}={run_label}")
        patch.setenv("AWS_CONFIG_FILE", str(home / "aws-config"))
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(home / "aws-credentials"))
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
            patch.setenv(name, str(home / name.lower()))
        yield patch


@pytest.fixture(scope="session")
def podman_service() -> Iterator[str]:
    """The address of a Podman of this session's own."""
    if shutil.which("podman") is None:
        missing("podman is not installed")
    with ExitStack() as stack:
        try:
            url = stack.enter_context(podman.service())
        except RuntimeError as error:
            missing(str(error))
        yield url


@pytest.fixture(scope="session")
def engines(
    request: pytest.FixtureRequest, run_label: str, own_environment: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Engine]]:
    """Connect to an engine by name, once; the sweep at the end of the session is this fixture's."""
    connected: dict[str, Engine] = {}

    def get(name: str) -> Engine:
        if name not in connected:
            if name == "podman":
                own_environment.setenv("CONTAINER_HOST", request.getfixturevalue("podman_service"))
            settings = Settings.from_env({**os.environ, "OBLAKO_CONTAINER_BACKEND": name})
            try:
                connected[name] = connect(settings)
                build.build_tiny(connected[name].api)
            except OblakoError as error:
                missing(str(error))
        return connected[name]

    yield get
    for engine in connected.values():
        if not engine.podman:  # that one is gone by now, with all that was in it
            for left in sweep(engine.api, f"{RUN}={run_label}"):
                print(f"left behind by a test, removed: {left}")
        engine.close()


@pytest.fixture(scope="session")
def engine_backend(request: pytest.FixtureRequest, engines: Callable[[str], Engine]) -> Engine:
    """The engine of this test, with the tiny image in it; both in turn for a test marked both_engines."""
    return engines(getattr(request, "param", None) or request.config.getoption("--engine"))


@pytest.fixture(scope="session")
def base_image(engine_backend: Engine) -> str:
    """The base image, built where it is not here yet."""
    try:
        return build.build_base(engine_backend.api)
    except OblakoError as error:
        missing(str(error))


@pytest.fixture(scope="session")
def notebook_image(engine_backend: Engine) -> str:
    """The notebook image, built where it is not here yet."""
    try:
        return build.build_notebook(engine_backend.api)
    except OblakoError as error:
        missing(str(error))


@pytest.fixture
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory of this test's own; OBLAKO_STATE_DIR names it."""
    path = tmp_path / "state"
    monkeypatch.setenv("OBLAKO_STATE_DIR", str(path))
    return path


_numbers = itertools.count(1)


def _control_plane(engine: Engine, folder: Path, run: str) -> Iterator[ControlPlane]:
    label = f"{PLANE}={run}-{next(_numbers)}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OBLAKO_STATE_DIR", str(folder / "state"))
        patch.setenv("OBLAKO_CONTAINER_BACKEND", "podman" if engine.podman else "docker")
        patch.setenv("OBLAKO_EC2_IMAGE", build.TINY_IMAGE)
        patch.setenv("OBLAKO_LABELS", f"{RUN}={run},{label}")
        with running(ControlPlane(Settings.from_env(), engine, label)) as plane:
            yield plane


@pytest.fixture
def control_plane(engine_backend: Engine, tmp_path: Path, run_label: str) -> Iterator[ControlPlane]:
    """A control plane of this test's own; the environment leads to it, as for a user of this machine."""
    yield from _control_plane(engine_backend, tmp_path, run_label)


@pytest.fixture(scope="module")
def shared_control_plane(
    engine_backend: Engine, tmp_path_factory: pytest.TempPathFactory, run_label: str
) -> Iterator[ControlPlane]:
    """One control plane for all tests of a module, which each look only at instances of their own."""
    yield from _control_plane(engine_backend, tmp_path_factory.mktemp("plane"), run_label)


@pytest.fixture
def ec2(control_plane: ControlPlane) -> Any:
    """A boto3 EC2 client of the test's own control plane."""
    return control_plane.client()


@pytest.fixture
def shared_ec2(shared_control_plane: ControlPlane) -> Any:
    """A boto3 EC2 client of the module's control plane."""
    return shared_control_plane.client()
