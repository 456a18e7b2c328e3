"""``oblako``: the same subcommands in plain text, exit codes, and variables for a shell."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import Any

import pytest

from oblako_magic.errors import ControlPlaneError
from oblako_magic.frontends import cli, cli_commands
from oblako_magic.frontends.parser import help_text
from oblako_magic.handles import ExecResult
from tests.frontends.fake_ec2 import FakeEc2


@pytest.fixture
def oblako(cloud: FakeEc2, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command line; gives exit code, output and errors."""
    monkeypatch.setattr(cli, "_connect", lambda: lambda: cloud)

    def run(*words: str) -> tuple[int, str, str]:
        code = cli.main(words)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_instances(oblako: Any, cloud: FakeEc2) -> None:
    code, out, _ = oblako("run", "--name", "web", "--publish", "8080:80")
    assert code == 0
    assert "web running" in out
    assert oblako("ls")[1].splitlines()[0].startswith("Name")
    assert json.loads(oblako("ls", "--json")[1])[0]["name"] == "web"
    assert oblako("stop", "web")[1].strip().endswith("web: running -> stopped")
    assert oblako("start", "web")[0] == 0
    assert oblako("terminate", "web")[0] == 0
    assert "no published ports; oblako publish" in oblako("ports", "*")[1] or cloud.machines[0].ports


def test_exec_hands_arguments_on_and_ends_with_the_commands_code(oblako: Any, cloud: FakeEc2) -> None:
    cloud.add("web")

    def script(command: Any, out: Any, err: Any, stop: Any) -> ExecResult:
        out(f"{command!r}\n")
        err("bad\n")
        return ExecResult(3, "", "")

    cloud.script = script
    assert oblako("exec", "web", "ls", "-la", "a b") == (3, "['ls', '-la', 'a b']\n", "bad\n")
    assert oblako("exec", "--user", "root", "web", "ls | wc -l")[1] == "'ls | wc -l'\n"
    assert oblako("exec", "web", "--", "-x", "y")[1] == "['-x', 'y']\n"
    assert oblako("exec", "web")[0] == 2


def test_exit_codes_and_one_sentence(oblako: Any, cloud: FakeEc2) -> None:
    code, out, err = oblako("show", "nobody")
    assert (code, out) == (1, "")
    assert err == "oblako: No instance answers to 'nobody'; there are none.\n"
    code, _, err = oblako("shwo")
    assert code == 2
    assert "did you mean show?" in err
    code, _, err = oblako("run", "--count", "x")
    assert code == 2
    assert "(oblako run --help shows how)" in err
    assert oblako("stop")[2] == "oblako: Name an instance or give --filter; oblako ls shows what there is.\n"
    cloud.fail["status"] = ControlPlaneError("The control plane does not answer.")
    assert oblako("status")[0] == 1
    cloud.fail["status"] = ZeroDivisionError("x")
    code, _, err = oblako("status")
    assert code == 1
    assert "internal error" in err
    assert err.count("\n") == 1
    cloud.fail["status"] = KeyboardInterrupt()
    assert oblako("status")[0] == 130


def test_control_plane(oblako: Any, cloud: FakeEc2) -> None:
    assert "http://127.0.0.1:41234" in oblako("up")[1]
    assert ("start", True) in cloud.calls
    assert "stopped" in oblako("down")[1]
    assert ("stop", None) in cloud.calls
    assert json.loads(oblako("status", "--json")[1])["endpoint"] == "http://127.0.0.1:41234"
    assert oblako("doctor")[0] == 0
    cloud.engine = ""
    code, out, _ = oblako("doctor")
    assert code == 1
    assert "Start Docker." in out


def test_env_for_shells(oblako: Any) -> None:
    assert "export AWS_ACCESS_KEY_ID='te st'" in oblako("env")[1]
    assert "set -gx AWS_ENDPOINT_URL_EC2 'http://127.0.0.1:41234';" in oblako("env", "--shell", "fish")[1]
    assert "$Env:AWS_ACCESS_KEY_ID = 'te st'" in oblako("env", "--shell", "powershell")[1]
    assert 'set "AWS_ACCESS_KEY_ID=te st"' in oblako("env", "--shell", "cmd")[1]
    assert "unset AWS_ENDPOINT_URL_EC2" in oblako("env", "--unset")[1]
    assert oblako("env", "--shell", "tcsh")[0] == 2


@pytest.mark.skipif(shutil.which("sh") is None, reason="needs sh")
def test_sh_takes_what_env_prints() -> None:
    value = 'a\'b "c" $d `e` \\'
    lines = "\n".join(cli_commands.export_lines("sh", [("VALUE", value)]))
    unset = cli_commands.unset_lines("sh", ["VALUE"])[0]
    script = f'eval "$LINES_"; printf %s "$VALUE"; {unset}; printf %s "${{VALUE-gone}}"'
    environ = {"LINES_": lines, "PATH": os.environ["PATH"]}
    done = subprocess.run(["sh", "-c", script], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == value + "gone"


def test_help_of_everything(oblako: Any) -> None:
    assert oblako()[0] == 0
    assert oblako("--version")[1].startswith("oblako 0.")
    overview = oblako("--help")[1]
    for name, command in cli.subcommands().items():
        assert f"  {command.group or name} " in overview
        text = oblako(*name.split(), "--help")[1]
        assert text.strip() == help_text(command, "oblako")
        assert "%ec2" not in text
        assert command.examples
        for option in command.all_options:
            assert option.help.endswith(".")
    # What binds a variable has no place in a terminal.
    assert "--out" not in oblako("exec", "--help")[1]
    assert oblako("ls", "-o", "x")[0] == 2


def test_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "oblako_magic", "nonsense"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.startswith("oblako: oblako has no subcommand 'nonsense'")


def test_examples_are_for_a_terminal(oblako: Any) -> None:
    assert oblako("help", "run") == oblako("run", "--help")
    assert oblako("help", "notebook", "run") == oblako("notebook", "run", "--help")
    _, out, _ = oblako("run", "--help")
    assert "\n  oblako run --name web --publish 8080:80\n" in out
    assert "%" not in out.partition("Examples:")[2]
