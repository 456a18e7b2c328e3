"""Loading adds, unloading takes away, reloading doubles nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from IPython.utils.capture import capture_output

from oblako_magic.errors import OblakoError
from oblako_magic.frontends import extension
from oblako_magic.frontends.completion import IDENTIFIER


def snapshot(shell: Any) -> dict[str, Any]:
    formatters = shell.display_formatter.formatters
    return {
        "line": set(shell.magics_manager.magics["line"]),
        "cell": set(shell.magics_manager.magics["cell"]),
        "registry": set(shell.magics_manager.registry),
        "configurables": [type(thing).__name__ for thing in shell.configurables],
        "matchers": list(shell.Completer.custom_matchers),
        "types": {kind: set(formatter.type_printers) for kind, formatter in formatters.items()},
        "deferred": {kind: set(formatter.deferred_printers) for kind, formatter in formatters.items()},
        "environ": {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")},
        "attribute": hasattr(shell, extension.ATTRIBUTE),
    }


def test_unload_puts_everything_back(bare_shell: Any, no_process: list[str]) -> None:
    with capture_output():
        # IPython registers its own %load_ext when it is first used.
        bare_shell.run_line_magic("unload_ext", "oblako_magic")
    before = snapshot(bare_shell)
    with capture_output() as said:
        bare_shell.run_line_magic("load_ext", "oblako_magic")
    assert said.stdout.count("\n") == 1
    assert said.stdout.startswith(
        "oblako_magic: boto3 and aws in this kernel now use http://127.0.0.1:41234 for EC2, Auto Scaling"
    )
    assert os.environ["AWS_ENDPOINT_URL_EC2"] == "http://127.0.0.1:41234"
    assert os.environ["AWS_ACCESS_KEY_ID"] == "test"
    assert snapshot(bare_shell) != before
    bare_shell.run_line_magic("unload_ext", "oblako_magic")
    assert no_process == ["start"]
    assert snapshot(bare_shell) == before


def test_reload_doubles_nothing(bare_shell: Any, no_process: list[str]) -> None:
    before = snapshot(bare_shell)
    with capture_output():
        bare_shell.run_line_magic("load_ext", "oblako_magic")
        once = snapshot(bare_shell)
        bare_shell.run_line_magic("reload_ext", "oblako_magic")
        extension.load(bare_shell)
        again = snapshot(bare_shell)
        bare_shell.run_line_magic("unload_ext", "oblako_magic")
    for key in ("line", "cell", "registry", "configurables", "types", "deferred", "environ"):
        assert once[key] == again[key], key
    assert len(again["matchers"]) == len(before["matchers"]) + 1
    assert snapshot(bare_shell) == before


def test_a_users_own_values_come_back(bare_shell: Any, no_process: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_EC2", "http://mine")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mine")
    with capture_output():
        bare_shell.run_line_magic("load_ext", "oblako_magic")
        assert os.environ["AWS_ACCESS_KEY_ID"] == "mine"
        os.environ["AWS_ENDPOINT_URL_IAM"] = "http://changed-later"
        bare_shell.run_line_magic("unload_ext", "oblako_magic")
    assert os.environ["AWS_ENDPOINT_URL_EC2"] == "http://mine"
    assert os.environ.pop("AWS_ENDPOINT_URL_IAM") == "http://changed-later"


def test_env_off_and_on(cell: Any) -> None:
    assert "AWS_ENDPOINT_URL_EC2" in cell("%ec2 env").stdout
    assert "***" in cell("%ec2 env show").stdout
    cell("%ec2 env off")
    assert "AWS_ENDPOINT_URL_EC2" not in os.environ
    assert "AWS_ACCESS_KEY_ID" not in os.environ
    assert "%ec2 env on" in cell("%ec2 env").stdout
    assert "now use http://127.0.0.1:41234" in cell("%ec2 env on").stdout
    assert os.environ["AWS_ENDPOINT_URL_EC2"] == "http://127.0.0.1:41234"


def test_the_default_session_of_boto3_is_put_aside_and_back(bare_shell: Any, no_process: list[str]) -> None:
    import boto3

    before = boto3.DEFAULT_SESSION = boto3.session.Session(region_name="us-east-1")
    assert before.get_credentials() is None
    with capture_output():
        bare_shell.run_line_magic("load_ext", "oblako_magic")
        client = boto3.client("ec2")
        assert client.meta.endpoint_url == "http://127.0.0.1:41234"
        assert boto3.DEFAULT_SESSION.get_credentials().access_key == "test"
        bare_shell.run_line_magic("unload_ext", "oblako_magic")
    assert boto3.DEFAULT_SESSION is before
    boto3.DEFAULT_SESSION = None


def test_it_loads_with_wrong_settings(bare_shell: Any, no_process: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise OblakoError("OBLAKO_PORT=x is not a whole number.")

    monkeypatch.setattr(extension, "_control_plane", broken)
    with capture_output() as said:
        bare_shell.run_line_magic("load_ext", "oblako_magic")
        assert "ec2" in bare_shell.magics_manager.magics["line"]
        bare_shell.run_line_magic("unload_ext", "oblako_magic")
    assert said.stdout == "oblako_magic: OBLAKO_PORT=x is not a whole number.\n"


def test_importing_and_loading_import_nothing_heavy(tmp_path: Any) -> None:
    code = (
        "import sys\n"
        "import oblako_magic; assert oblako_magic.__version__ and 'Ec2' in dir(oblako_magic)\n"
        "heavy = {'boto3', 'docker', 'ipywidgets', 'moto', 'requests', 'IPython'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        "before = set(sys.modules)\n"
        "from oblako_magic.frontends import extension\n"
        "extension._control_plane = lambda: ('http://127.0.0.1:1', lambda: ([], []))\n"
        "shell.run_line_magic('load_ext', 'oblako_magic')\n"
        "added = set(sys.modules) - before\n"
        "assert not (heavy - {'IPython'}) & added, heavy & added\n"
    )
    environ = {**os.environ, "OBLAKO_STATE_DIR": str(tmp_path), "IPYTHONDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environ, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_matcher_is_registered(shell: Any) -> None:
    assert [matcher.matcher_identifier for matcher in shell.Completer.custom_matchers] == [IDENTIFIER]
