"""The scripts behind the Makefile."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from scripts import check, setup_engine

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(("options", "code"), [((), 0), (("--require",), 1)])
def test_no_engine_is_one_sentence_with_the_next_step(options: tuple[str, ...], code: int, tmp_path: Path) -> None:
    environ = {**os.environ, "OBLAKO_CONTAINER_BACKEND": "colima", "COLIMA_HOME": str(tmp_path)}
    argv = [sys.executable, "-m", "scripts.setup_engine", *options]
    done = subprocess.run(argv, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, "")
    assert done.stdout == "no Colima answers; start it (colima start).\n"


@pytest.mark.parametrize(
    ("line", "passed", "failed"),
    [
        ("7 passed in 6.18s", 7, 0),
        ("====== 1 failed, 406 passed in 257.50s (0:04:17) ======", 406, 1),
        ("2 failed, 3 passed, 1 skipped, 2 errors in 1.00s", 3, 4),
    ],
)
def test_pytest_s_counts_are_read(line: str, passed: int, failed: int) -> None:
    checks = check.Checks(os.environ)
    script = f"print('12 passed tests are told of here'); print({line!r}); raise SystemExit({int(failed > 0)})"
    checks.command = lambda argv, **environ: check.Checks.command(checks, [sys.executable, "-c", script])  # type: ignore[method-assign]
    checks.pytest("some tests", [])
    assert [(one.passed, one.failed) for one in checks.outcomes] == [(passed, failed)]


def test_a_run_that_ends_badly_without_a_failed_test_has_failed() -> None:
    checks = check.Checks(os.environ)
    checks.pytest("nothing collected", ["-q", "-p", "no:cacheprovider", "-k", "no_such_test", "tests/test_project.py"])
    assert checks.outcomes[0].failed == 1
    assert checks.summary() == 1


def test_the_last_lines_name_what_failed(capfd: pytest.CaptureFixture[str]) -> None:
    checks = check.Checks(os.environ)
    lines = ["FAILED tests/test_a.py::test_b - assert 1 == 2", "ERROR tests/test_c.py::test_d", "2 failed in 2 s"]
    script = f"print(*{lines!r}, sep='\\n')"
    checks.command = lambda argv, **environ: check.Checks.command(checks, [sys.executable, "-c", script])  # type: ignore[method-assign]
    checks.pytest("some tests", [])
    capfd.readouterr()
    assert checks.summary() == 1
    assert [line.strip() for line in capfd.readouterr().out.splitlines()[3:5]] == lines[:2]


def test_what_takes_too_long_is_ended_and_said(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check, "LIMIT", 1.0)
    checks = check.Checks(os.environ)
    # Like pytest, which cleans up when it is ended and then has an exit code of its own.
    script = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\ntime.sleep(60)"
    assert checks.command([sys.executable, "-c", script])[0] != 0
    assert "ended after 1 s" in capfd.readouterr().out


def test_missing_tools_are_told_with_the_packages_that_bring_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(setup_engine, "can_install", lambda: False)
    monkeypatch.setenv("PATH", "")
    assert setup_engine.ensure_tools() == list(setup_engine.TOOLS)
    assert capsys.readouterr().out == ""


def test_lanes_run_at_once_and_say_which_they_are(capfd: pytest.CaptureFixture[str]) -> None:
    checks = check.Checks(os.environ)
    meet = "import pathlib, sys, time\nmine, other = map(pathlib.Path, sys.argv[1:])\nmine.touch()\n"
    meet += "while not other.exists(): time.sleep(0.05)\nprint('met')"

    with tempfile.TemporaryDirectory() as folder:
        a, b = f"{folder}/a", f"{folder}/b"
        checks.together(
            first=lambda: checks.simple("one", [sys.executable, "-c", meet, a, b]),
            second=lambda: checks.simple("two", [sys.executable, "-c", meet, b, a]),
        )
    assert sorted((one.name, one.passed, one.failed) for one in checks.outcomes) == [("one", 1, 0), ("two", 1, 0)]
    said = capfd.readouterr().out
    assert "first| met" in said
    assert "second| met" in said
