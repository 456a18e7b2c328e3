"""JupyterLab on loopback, and notebooks opened in Chromium: what the browser tests share."""

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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat

from tests.conftest import missing
from tests.support.plane import eventually


def free_port() -> int:
    """A TCP port that nobody uses just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_notebook(path: Path, cells: Sequence[str]) -> None:
    """A notebook of code cells."""
    notebook: Any = nbformat.v4.new_notebook()
    # Without it JupyterLab asks which kernel to take.
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in cells]
    nbformat.write(notebook, path)


@contextmanager
def jupyter_lab(folder: Path) -> Iterator[str]:
    """JupyterLab on loopback with a token; yields the address of a notebook in it, with ``{0}`` for its name.

    Each is in a workspace of its own: else JupyterLab opens again what another page had open.
    """
    token, port = secrets.token_hex(16), free_port()
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
        yield f"{url}/lab/workspaces/{{0}}/tree/{{0}}.ipynb?token={token}"
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def chromium(**options: Any) -> Iterator[Any]:
    """Debian's Chromium, driven by Playwright."""
    path = shutil.which("chromium")
    if path is None:
        missing("chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-background-networking"], **options
        )
        try:
            yield browser
        finally:
            browser.close()


_RUNNING = "at => window.jupyterapp.shell.currentWidget.content.widgets[at].model.executionState === 'running'"
NETWORK_CHANGED = "net::ERR_NETWORK_CHANGED"
"""Chromium breaks off what it is loading when a network interface comes or goes: any container's that starts beside it.
No user's browser does that on loopback, so that this one error, by its whole text, is not looked at."""
NOT_ASKED = "Blocked attempt to show a 'beforeunload' confirmation panel"
"""What Chromium says of JupyterLab's question about unsaved changes, where a page is loaded anew without a click."""


BUSY = """import time
print('begun at', time.time(), flush=True)
end = time.time() + 90
try:
    while time.time() < end:
        time.sleep(0.01)
except KeyboardInterrupt:
    pass"""
"""A cell that has the kernel until it is interrupted, see `Notebook.busy`."""


class Notebook:
    """A notebook that is open in JupyterLab.

    Parameters
    ----------
    page : playwright.sync_api.Page
    url : str
    """

    def __init__(self, page: Any, url: str) -> None:
        self.page = page
        self.errors: list[str] = []
        self.foreign: list[str] = []
        self._broken_off = 0
        page.on("pageerror", self._threw)
        page.on("console", self._said)
        page.on("requestfailed", self._failed)
        page.set_default_timeout(20_000)
        self._load(url)

    def _load(self, url: str) -> None:
        """Open the page; once more where its loading was broken off: JupyterLab shows a dialog then, or nothing."""
        from playwright.sync_api import Error

        for last in (False, False, True):
            self._broken_off = 0
            self.errors.clear()  # of a page that was loaded in part
            try:
                self.page.goto(url, timeout=60_000)
                self.page.wait_for_load_state("networkidle", timeout=60_000)
            except Error as error:
                if last or NETWORK_CHANGED not in error.message:
                    raise
                continue
            if not self._broken_off:
                break
        self.wait()

    def _threw(self, error: Any) -> None:
        """Take an error down; a node that JupyterLab itself removes twice is not ours: our code is a blob."""
        frames = [line for line in (error.stack or "").splitlines() if "://" in line]
        if "removeChild" in str(error) and frames and not any("blob:" in frame for frame in frames):
            return
        self.errors.append("\n".join([str(error), *frames[:8]]))

    def _failed(self, request: Any) -> None:
        self._broken_off += request.failure == NETWORK_CHANGED

    def _said(self, message: Any) -> None:
        text = message.text
        if message.type != "error" or text == f"Failed to load resource: {NETWORK_CHANGED}" or NOT_ASKED in text:
            return
        self.errors.append(text)

    def wait(self) -> None:
        """Until the notebook is there and its kernel idle: sooner, JupyterLab asks for a kernel and runs nothing."""
        self.page.wait_for_selector(".jp-CodeCell .cm-content", timeout=60_000)
        self.idle()

    def idle(self) -> None:
        """Until the kernel is idle."""
        self.page.wait_for_function(
            "() => window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status == 'idle'",
            timeout=90_000,
        )

    def start(self, cell: int) -> None:
        """Begin to run a cell."""
        self.page.evaluate(
            "(at) => { const app = window.jupyterapp; const notebook = app.shell.currentWidget.content;"
            " notebook.activeCellIndex = at; notebook.deselectAll(); app.commands.execute('notebook:run-cell'); }",
            cell,
        )

    def run(self, cell: int) -> None:
        """Run a cell to its end."""
        self.start(cell)
        self.page.wait_for_function(
            "(at) => window.jupyterapp.shell.currentWidget.content.widgets[at]?.model.executionState === 'idle'"
            " && window.jupyterapp.shell.currentWidget.content.widgets[at].model.executionCount > 0",
            arg=cell,
            timeout=90_000,
        )
        self.idle()

    def running(self, cell: int) -> bool:
        """Whether a cell runs; the kernel's own state is that of whichever of its threads spoke last."""
        return bool(self.page.evaluate(_RUNNING, cell))

    @contextmanager
    def busy(self, cell: int) -> Iterator[None]:
        """Have the kernel run a ``BUSY`` cell meanwhile: from when the cell has said so, not when it was sent."""
        said = self.output(cell)
        before = said.inner_text() if said.count() else ""
        self.start(cell)
        eventually(lambda: said.count() and said.inner_text() not in ("", before), what="the cell runs")
        eventually(lambda: self.running(cell))
        yield
        assert self.running(cell), "it was not busy all the time"
        self.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.interrupt()")
        eventually(lambda: not self.running(cell), what="the cell has ended")

    def theme(self, name: str) -> None:
        """Have JupyterLab's ``Light`` or ``Dark`` theme."""
        theme = f"JupyterLab {name}"
        self.page.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })", theme)
        self.page.wait_for_function("theme => document.body.dataset.jpThemeName === theme", arg=theme)

    def close(self) -> None:
        """End the kernel and close the page with its context."""
        self.page.evaluate("() => window.jupyterapp.shell.currentWidget?.sessionContext?.shutdown()")
        self.page.context.close()

    def output(self, cell: int) -> Any:
        """The locator of a cell's output."""
        return self.page.locator(".jp-Cell").nth(cell).locator(".jp-OutputArea-output")
