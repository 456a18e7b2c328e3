"""``exec``: streaming, the exit code, limits, interrupts and the background."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

import pytest
from IPython.utils.capture import capture_output

from oblako_magic.frontends.stream import OutputWriter
from oblako_magic.handles import ExecResult
from tests.frontends.fake_ec2 import FakeEc2


def asked(cloud: FakeEc2) -> tuple[Any, dict[str, Any]]:
    _, command, options = next(details for called, details in reversed(cloud.calls) if called == "exec")
    return command, options


@pytest.fixture(autouse=True)
def web(cloud: FakeEc2) -> Any:
    return cloud.add("web")


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("exec web ls -la --color", "ls -la --color"),
        ("exec --user root web ls --user", "ls --user"),
        ("exec web --user root ls -h", "ls -h"),
        ("exec web -- --odd", "--odd"),
        ("exec web 'ls | wc -l'", "ls | wc -l"),
        ('exec web sh -c "echo out; exit 3"', 'sh -c "echo out; exit 3"'),
        ("exec web awk '{print $1}' /etc/passwd", "awk '{print $1}' /etc/passwd"),
        ("exec web echo $HOME ${HOME} $$ cost$5", "echo $HOME ${HOME} $$ cost$5"),
        ("exec web find / -exec ls {} \\;", "find / -exec ls {} \\;"),
        ('exec web curl -d \'{"a": {"b": 1}}\' http://x', 'curl -d \'{"a": {"b": 1}}\' http://x'),
        ("exec web cat {path} $path '$path' {{path}} $$path", "cat /srv/a /srv/a '$path' {path} $path"),
        ("exec web echo {machine} {items}", "echo i-77 a b"),
    ],
)
def test_the_rest_of_the_line_is_the_command(cell: Any, cloud: FakeEc2, shell: Any, line: str, command: str) -> None:
    from tests.frontends.fake_ec2 import make_instance

    shell.user_ns.update(path="/srv/a", items=["a", "b"], machine=make_instance(id="i-77", state="running"))
    done = cell(f"%ec2 {line}")
    assert done.error is None
    assert asked(cloud)[0] == command


def test_options_and_body(cell: Any, cloud: FakeEc2, shell: Any) -> None:
    done = cell(
        "%%ec2 exec web --user app --env A=1 -e B=2 --workdir /srv --timeout 90s --out text --err errors\n"
        "#!/bin/sh\necho {x}\n"
    )
    command, options = asked(cloud)
    assert done.error is None
    assert command == "#!/bin/sh\necho {x}\n"
    assert options == {"user": "app", "env": {"A": "1", "B": "2"}, "workdir": "/srv", "timeout": 90.0}
    assert shell.user_ns["text"] == "hello\n"
    assert shell.user_ns["errors"] == ""


def test_streams_are_told_apart_and_the_exit_code_is_shown(cell: Any, cloud: FakeEc2) -> None:
    def script(command: Any, out: Any, err: Any, stop: Any) -> ExecResult:
        out("fine\n")
        err("bad\n")
        return ExecResult(3, "fine\n", "bad\n")

    cloud.script = script
    done = cell("%ec2 exec web x")
    assert done.stdout.startswith("fine\n")
    assert done.stderr == "bad\n"
    assert "exit code 3" in done.stdout
    assert done.value.exit_code == 3
    assert done.value.stderr == "bad\n"
    assert not done.value.ok


def test_output_comes_while_the_command_runs(cloud: FakeEc2, shell: Any) -> None:
    seen = ""

    def script(command: Any, out: Any, err: Any, stop: Any) -> ExecResult:
        nonlocal seen
        out("first\n")
        deadline = time.monotonic() + 5
        while not seen and time.monotonic() < deadline:
            time.sleep(0.02)
            seen = stream.getvalue()
        return ExecResult(0, "", "")

    cloud.script = script
    with capture_output():
        stream: Any = sys.stdout
        shell.run_line_magic("ec2", "exec web x")
    assert seen == "first\n"


def test_megabytes_are_cut_but_kept(cell: Any, cloud: FakeEc2, shell: Any) -> None:
    def script(command: Any, out: Any, err: Any, stop: Any) -> ExecResult:
        for _ in range(3 * 1024):
            out("x" * 1023 + "\n")
        return ExecResult(0, "", "")

    cloud.script = script
    done = cell("%ec2 exec --out text web yes")
    assert 1024**2 <= len(done.stdout) < 1.1 * 1024**2
    assert "1 MiB" in done.stderr
    assert len(done.stderr.splitlines()) <= 2
    assert len(shell.user_ns["text"]) == 3 * 1024**2
    assert "--out VAR" in cell("%ec2 exec web yes").stderr


def test_many_small_chunks_become_few_writes() -> None:
    class Counting:
        def __init__(self) -> None:
            self.writes: list[str] = []

        def write(self, text: str) -> None:
            self.writes.append(text)

        def flush(self) -> None:
            pass

    stream: Any = Counting()
    with OutputWriter() as writer:
        writer._streams = {"out": stream, "err": stream}
        for number in range(20_000):
            writer.out(f"{number}\n")
    assert len(stream.writes) < 50
    assert "".join(stream.writes) == "".join(f"{number}\n" for number in range(20_000))


def test_order_of_the_two_streams_is_kept() -> None:
    order: list[tuple[str, str]] = []

    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

        def write(self, text: str) -> None:
            order.append((self.name, text))

        def flush(self) -> None:
            pass

    named: Any = {"out": Named("out"), "err": Named("err")}
    with OutputWriter() as writer:
        writer._streams = named
        for text in "abc":
            writer.out(text)
            writer.err(text.upper())
    assert order == [("out", "a"), ("err", "A"), ("out", "b"), ("err", "B"), ("out", "c"), ("err", "C")]


def test_interrupt_is_one_line_and_keeps_the_output(cell: Any, cloud: FakeEc2, shell: Any) -> None:
    def script(command: Any, out: Any, err: Any, stop: Any) -> ExecResult:
        out("so far\n")
        raise KeyboardInterrupt

    cloud.script = script
    done = cell("%ec2 exec --out text web sleep 100")
    assert isinstance(done.error, KeyboardInterrupt)
    assert "was stopped" in done.stdout
    assert len(done.stdout.strip().splitlines()) == 2
    assert shell.user_ns["text"] == "so far\n"


def test_background(cell: Any, cloud: FakeEc2, shell: Any) -> None:
    go = threading.Event()

    def script(command: Any, out: Any, err: Any, stop: Any) -> ExecResult:
        out("begun\n")
        go.wait(5)
        return ExecResult(4, "begun\n", "")

    cloud.script = script
    done = cell("job = %ec2 exec --bg --out text web long")
    job = shell.user_ns["job"]
    assert done.stdout == ""
    assert job.running
    assert job.result is None
    assert "running" in repr(job)
    go.set()
    result = job.wait(5)
    assert result.exit_code == 4
    assert job.output == "begun\n"
    assert "exit code 4" in repr(job)
    assert shell.user_ns["text"] == "begun\n"


def test_background_stop_and_failure(cell: Any, cloud: FakeEc2, shell: Any) -> None:
    def script(command: Any, out: Any, err: Any, stop: Any) -> ExecResult:
        while not stop():
            time.sleep(0.01)
        raise KeyboardInterrupt

    cloud.script = script
    cell("job = %ec2 exec --bg web long")
    job = shell.user_ns["job"]
    job.stop()
    assert not job.running
    assert job.wait() is None
    assert "stopped" in repr(job)

    from oblako_magic.errors import EngineError, OblakoError

    def broken(command: Any, out: Any, err: Any, stop: Any) -> ExecResult:
        raise EngineError("No such container.")

    cloud.script = broken
    cell("job = %ec2 exec --bg web long")
    with pytest.raises(OblakoError, match="No such container"):
        shell.user_ns["job"].wait(5)
    assert "failed" in repr(shell.user_ns["job"])


def test_unloading_stops_jobs(cell: Any, cloud: FakeEc2, shell: Any) -> None:
    def script(command: Any, out: Any, err: Any, stop: Any) -> ExecResult:
        while not stop():
            time.sleep(0.01)
        raise KeyboardInterrupt

    cloud.script = script
    cell("job = %ec2 exec --bg web long")
    cell("%unload_ext oblako_magic")
    assert not shell.user_ns["job"].running


def test_in_a_terminal_the_last_line_is_ended(cell: Any, cloud: FakeEc2) -> None:
    def script(command: Any, out: Any, err: Any, stop: Any) -> ExecResult:
        out("no newline")
        return ExecResult(0, "", "")

    cloud.script = script
    assert cell("%ec2 exec web x").stdout.startswith("no newline\nOut[")
