"""In a real kernel: which messages a front end gets. The cloud is the one in memory."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager

SETUP = """
import time
from oblako_magic.frontends import extension
extension._control_plane = lambda: ("http://127.0.0.1:41234", lambda: ([], []))
%load_ext oblako_magic
from tests.frontends.fake_ec2 import FakeEc2
from oblako_magic.handles import ExecResult
cloud = FakeEc2()
cloud.add("web")
get_ipython()._oblako_magic.magics._ec2 = cloud
"""


class Kernel:
    """Runs cells; gives the messages of each."""

    def __init__(self, client: Any, manager: Any) -> None:
        self.client, self.manager = client, manager

    def run(self, code: str, interrupt_after: str = "") -> list[tuple[str, dict[str, Any]]]:
        """Run a cell; interrupt it as soon as it has written this."""
        messages: list[tuple[str, dict[str, Any]]] = []

        def see(message: Any) -> None:
            content = message["content"]
            messages.append((message["msg_type"], content))
            if interrupt_after and interrupt_after in str(content.get("text", "")):
                self.manager.interrupt_kernel()

        self.client.execute_interactive(code, store_history=False, output_hook=see, timeout=60)
        return [message for message in messages if message[0] not in {"status", "execute_input"}]


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    home = tmp_path_factory.mktemp("kernel")
    manager = KernelManager()
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    from jupyter_client.kernelspec import KernelSpec

    manager._kernel_spec = KernelSpec(argv=command, display_name="test", language="python")
    root = str(Path(__file__).parents[2])
    manager.start_kernel(
        cwd=root,
        env={**os.environ, "PYTHONPATH": root, "IPYTHONDIR": str(home), "OBLAKO_STATE_DIR": str(home / "state")},
    )
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        found = Kernel(client, manager)
        setup = found.run(SETUP)
        assert [kind for kind, _ in setup] == ["stream"], setup
        yield found
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def texts(messages: list[tuple[str, dict[str, Any]]], name: str) -> str:
    return "".join(content["text"] for kind, content in messages if kind == "stream" and content["name"] == name)


def test_exec_streams_and_shows_no_result_for_0(kernel: Kernel) -> None:
    kernel.run("cloud.script = lambda c, out, err, stop: (out('fine\\n'), err('bad\\n'), ExecResult(0, '', ''))[2]")
    messages = kernel.run("%ec2 exec web x")
    assert texts(messages, "stdout") == "fine\n"
    assert texts(messages, "stderr") == "bad\n"
    assert {kind for kind, _ in messages} == {"stream"}
    kernel.run("cloud.script = lambda c, out, err, stop: ExecResult(3, '', '')")
    ((kind, content),) = kernel.run("%ec2 exec web x")
    assert kind == "execute_result"
    assert content["data"]["text/plain"] == "exit code 3"


def test_output_arrives_while_the_command_runs_and_an_interrupt_is_one_line(kernel: Kernel) -> None:
    kernel.run("def slow(c, out, err, stop):\n    out('begun\\n')\n    time.sleep(30)\ncloud.script = slow")
    began = time.monotonic()
    messages = kernel.run("%ec2 exec web x", interrupt_after="begun")
    assert time.monotonic() - began < 15
    error = next(content for kind, content in messages if kind == "error")
    assert len(error["traceback"]) == 1
    assert "was stopped" in error["evalue"]


def test_an_error_is_one_line(kernel: Kernel) -> None:
    ((kind, content),) = kernel.run("%ec2 show nobody")
    assert kind == "error"
    assert content["ename"] == "TargetError"
    assert content["traceback"] == [f"TargetError: {content['evalue']}"]


def test_tables_are_html_and_text(kernel: Kernel) -> None:
    ((kind, content),) = kernel.run("%ec2 ls")
    assert kind == "execute_result"
    assert "oblako-instances" in content["data"]["text/html"]
    assert content["data"]["text/plain"].startswith("Name")
    assert kernel.run("x = %ec2 ls") == []


def test_progress_shows_after_a_moment_and_goes(kernel: Kernel) -> None:
    def slow(pause: float) -> str:
        return (
            "def slow(machines, state, on_change=None, **more):\n"
            f"    on_change(machines)\n    time.sleep({pause})\n    return machines\n"
            "cloud.wait = slow"
        )

    kernel.run(slow(0))
    assert [kind for kind, _ in kernel.run("%ec2 wait web")] == ["execute_result"]
    kernel.run(slow(1.6))
    messages = kernel.run("%ec2 wait web")
    kinds = [kind for kind, _ in messages]
    assert kinds[0] == "display_data"
    assert "web i-0abc" in messages[0][1]["data"]["text/plain"]
    assert kinds[-1] == "execute_result"
    updates = [content for kind, content in messages if kind == "update_display_data"]
    assert updates[-1]["data"]["text/plain"] == ""
