"""What a user sees: a notebook in JupyterLab, driven in a real browser."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.conftest import missing
from tests.support.plane import ControlPlane, eventually

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CELLS = (
    "%load_ext oblako_magic",
    "web = %ec2 run --name seen --publish 8000",
    "%ec2 ls",
    "%ec2 exec seen 'echo to-stdout; echo to-stderr >&2; exit 3'",
    "%ec2 stop nobody",
    "%ec2 terminate seen",
)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def jupyter_lab(folder: Path) -> Iterator[str]:
    """JupyterLab on loopback with a token; yields its address with it."""
    token, port = secrets.token_hex(16), _free_port()
    config = folder / "jupyter" / "labconfig"
    config.mkdir(parents=True)
    # Nothing may ask whether news is wanted: a dialog would lie over the notebook.
    (config / "page_config.json").write_text(
        json.dumps({"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}})
    )
    process = subprocess.Popen(
        [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
            f"--IdentityProvider.token={token}", "--ServerApp.port_retries=0", f"--notebook-dir={folder}",
            "--LabApp.expose_app_in_browser=True",
        ],
        env={**os.environ, "JUPYTER_CONFIG_DIR": str(config.parent)},
        stdin=subprocess.DEVNULL,
        stdout=(folder / "lab.log").open("wb"),
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.poll() is None, (folder / "lab.log").read_text()[-2000:]
        try:
            with urllib.request.urlopen(f"{url}/api?token={token}", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            return False

    try:
        eventually(answers, timeout=60, what="JupyterLab answers")
        yield f"{url}/lab/tree/seen.ipynb?token={token}"
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture
def page(control_plane: ControlPlane, tmp_path: Path) -> Iterator[Any]:
    """The notebook, opened in Chromium; its errors are kept in ``page.errors``."""
    chromium = shutil.which("chromium")
    if chromium is None:
        missing("chromium is not installed")
    from playwright.sync_api import sync_playwright

    notebook: Any = nbformat.v4.new_notebook()
    # Without it JupyterLab asks which kernel to take.
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    nbformat.write(notebook, tmp_path / "seen.ipynb")
    with jupyter_lab(tmp_path) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-background-networking"]
        )
        opened: Any = browser.new_page(viewport={"width": 1100, "height": 1000})
        opened.errors = []
        opened.on("pageerror", lambda error: opened.errors.append(str(error)))
        opened.set_default_timeout(60_000)
        opened.goto(url)
        opened.wait_for_selector(".jp-CodeCell .cm-content", timeout=60_000)
        yield opened
        browser.close()


def test_a_notebook_in_jupyterlab(page: Any, control_plane: ControlPlane) -> None:
    """Run every cell by JupyterLab's own command, and look at what is on the screen."""
    # Sooner, and JupyterLab asks for a kernel instead of running anything.
    page.wait_for_function(
        "() => window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status == 'idle'"
    )
    # Not awaited: the promise is kept until the last cell has ended.
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    outputs = page.locator(".jp-Cell")
    # A cell that fails stops the run: the one after it is run by hand.
    page.wait_for_function("() => document.body.innerText.includes('TargetError')", timeout=120_000)

    table = page.locator("table.oblako-instances")
    row = table.locator("tbody tr").inner_text()
    [container] = control_plane.containers()
    assert container["State"] == "running"
    assert "seen" in row
    assert "running" in row
    [link] = table.locator("a").all()
    assert link.get_attribute("href").startswith("http://127.0.0.1:")
    assert "noopener" in link.get_attribute("rel").split()
    dot = table.locator("tbody span[aria-hidden=true]").evaluate("node => getComputedStyle(node).color")
    assert dot != page.evaluate("() => getComputedStyle(document.body).color"), "the state has its colour"

    shown = outputs.nth(3).inner_text()
    assert "to-stdout" in shown
    assert "exit code 3" in shown
    red = page.locator("[data-mime-type='application/vnd.jupyter.stderr']").first.inner_text()
    assert "to-stderr" in red
    failure = outputs.nth(4).locator(".jp-OutputArea-output").inner_text()
    assert failure.strip().splitlines() == [failure.strip()], "one line, no traceback"
    assert failure.startswith("TargetError: no instance is called 'nobody'")

    page.evaluate(
        "() => { const app = window.jupyterapp; const notebook = app.shell.currentWidget.content;"
        " notebook.activeCellIndex = 5; notebook.deselectAll(); app.commands.execute('notebook:run-cell'); }"
    )
    eventually(lambda: not control_plane.containers(), what="the container is gone")
    page.wait_for_function("() => document.body.innerText.includes('running -> terminated')", timeout=30_000)
    assert page.errors == []
