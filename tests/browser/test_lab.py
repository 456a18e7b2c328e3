"""What a user sees: a notebook in JupyterLab, driven in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.lab import Notebook, chromium, jupyter_lab, write_notebook
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


@pytest.fixture
def notebook(control_plane: ControlPlane, tmp_path: Path) -> Iterator[Notebook]:
    """The notebook, opened in Chromium."""
    write_notebook(tmp_path / "seen.ipynb", CELLS)
    with jupyter_lab(tmp_path) as url, chromium() as browser:
        yield Notebook(browser.new_page(viewport={"width": 1300, "height": 1000}), url.format("seen"))


def test_a_notebook_in_jupyterlab(notebook: Notebook, control_plane: ControlPlane) -> None:
    """Run every cell by JupyterLab's own command, and look at what is on the screen."""
    page = notebook.page
    # Not awaited: the promise is kept until the last cell has ended.
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    outputs = page.locator(".jp-Cell")
    # A cell that fails stops the run: the one after it is run by hand.
    page.wait_for_function("() => document.body.innerText.includes('TargetError')", timeout=120_000)

    table = page.locator("table.oblako-instances")
    row = table.locator("tbody tr[data-id]").inner_text()
    [container] = control_plane.containers()
    assert container["State"] == "running"
    assert "seen" in row
    assert "running" in row
    [link] = table.locator("a").all()
    assert link.get_attribute("href").startswith("http://127.0.0.1:")
    assert "noopener" in link.get_attribute("rel").split()
    dot = table.locator("tbody .ob-dot").evaluate("node => getComputedStyle(node).backgroundColor")
    assert dot != page.evaluate("() => getComputedStyle(document.body).color"), "the state has its colour"

    shown = outputs.nth(3).inner_text()
    assert "to-stdout" in shown
    assert "exit code 3" in shown
    red = page.locator("[data-mime-type='application/vnd.jupyter.stderr']").first.inner_text()
    assert "to-stderr" in red
    failure = outputs.nth(4).locator(".jp-OutputArea-output").inner_text()
    assert failure.strip().splitlines() == [failure.strip()], "one line, no traceback"
    assert failure.startswith("TargetError: no instance is called 'nobody'")

    notebook.start(5)
    eventually(lambda: not control_plane.containers(), what="the container is gone")
    page.wait_for_function("() => document.body.innerText.includes('running -> terminated')", timeout=30_000)
    assert notebook.errors == []
