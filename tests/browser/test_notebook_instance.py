"""A notebook instance as its user meets it: from a link in one JupyterLab into another one, and back the next day."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from oblako_magic import Ec2, names
from oblako_magic.notebooks import Notebook
from tests.browser.lab import Notebook as Open
from tests.browser.lab import chromium, jupyter_lab, write_notebook
from tests.support.plane import ControlPlane, eventually

pytestmark = [pytest.mark.browser, pytest.mark.slow]

# The inner JupyterLab is driven by its own commands, too: the keyboard is flaky.
SCRIPT = """\
#!/bin/sh
mkdir -p /etc/jupyter/labconfig
echo 'c.LabApp.expose_app_in_browser = True' > /etc/jupyter/jupyter_lab_config.py
cd /etc/jupyter/labconfig
echo '{"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": true}}' > page_config.json
"""
CELLS = (
    "%load_ext oblako_magic",
    f"%%ec2 notebook run seen\n{SCRIPT}",
    "%ec2 notebook ls",
    "%ec2 notebook open seen --embed",
)


def status(url: str) -> int:
    """What an address answers to somebody who is not logged in."""
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.fixture
def outer(control_plane: ControlPlane, notebook_image: str, tmp_path: Path) -> Iterator[Open]:
    """The outer notebook, opened in Chromium at ``localhost``, which is where JupyterLab opens a browser."""
    write_notebook(tmp_path / "seen.ipynb", CELLS)
    with jupyter_lab(tmp_path) as url, chromium() as browser:
        address = url.format("seen").replace("//127.0.0.1:", "//localhost:")
        yield Open(browser.new_page(viewport={"width": 1300, "height": 1000}), address)


def inner_notebook(page: Any, name: str) -> None:
    """A notebook with a kernel in the inner JupyterLab, as its launcher makes one."""
    page.wait_for_function("() => window.jupyterapp?.commands.hasCommand('notebook:create-new')")
    page.evaluate(
        "async name => { const app = window.jupyterapp; await app.restored;"
        " await app.serviceManager.contents.save(name, {type: 'notebook', format: 'json', content: {cells: [],"
        " metadata: {kernelspec: {name: 'python3', display_name: 'Python 3', language: 'python'}},"
        " nbformat: 4, nbformat_minor: 5}}); await app.commands.execute('docmanager:open', {path: name}); }",
        name,
    )
    page.wait_for_function(
        "() => window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status == 'idle'"
    )


def run_source(page: Any, source: str) -> str:
    """Put a source into the notebook's first cell, run it and give what is written below it."""
    page.evaluate(
        "source => { const notebook = window.jupyterapp.shell.currentWidget.content;"
        " notebook.model.sharedModel.insertCell(0, {cell_type: 'code', source}); }",
        source,
    )
    page.evaluate(
        "() => { const app = window.jupyterapp; const notebook = app.shell.currentWidget.content;"
        " notebook.activeCellIndex = 0; notebook.deselectAll(); app.commands.execute('notebook:run-cell'); }"
    )
    # Of the notebook that is seen: what was open the day before may be there again, behind it.
    output = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell").first.locator(".jp-OutputArea-output")
    output.first.wait_for()
    page.wait_for_function("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status == 'idle'")
    return "\n".join(output.all_inner_texts())


def test_a_notebook_instance(outer: Open, control_plane: ControlPlane, tmp_path: Path) -> None:
    page = outer.page
    page.set_default_timeout(180_000)
    for number in range(len(CELLS)):
        outer.run(number)
    row = page.locator("table.oblako-notebooks tbody tr").inner_text()
    assert "seen" in row
    assert "InService" in row
    assert page.get_by_text("within 5 minutes").first.is_visible()

    # The frame below the last cell: JupyterLab in JupyterLab, although one is at localhost and one is not.
    frame = page.frame_locator("iframe.oblako-lab")
    frame.locator("#jp-main-dock-panel, .jp-LabShell").first.wait_for(timeout=60_000)

    # The link in the table, as it is clicked.
    link = page.locator("table.oblako-notebooks a")
    address = link.get_attribute("href")
    assert "/_oblako/open/" in address
    assert "noopener" in link.get_attribute("rel").split()
    with page.context.expect_page() as opening:
        link.click()
    inner = opening.value
    inner.set_default_timeout(60_000)
    inner_notebook(inner, "work.ipynb")
    said = run_source(
        inner,
        "from pathlib import Path\nPath('kept.txt').write_text('by the cell')\nimport getpass, os\n"
        "print(getpass.getuser(), os.getcwd(), os.environ['AWS_ENDPOINT_URL'])",
    )
    assert "ec2-user /home/ec2-user/SageMaker http://host.docker.internal:" in said

    # A link is good for one use, and without one nobody gets in.
    assert status(address) == 403
    cloud = Ec2(control_plane.settings)
    seen = cloud.notebooks.get("seen")
    assert status(seen.url.replace("/lab", "/api/contents")) == 403
    token = parse_qs(urlsplit(seen.login_url()).query)["token"][0]
    assert len(token) >= 32
    assert status(f"{seen.url.replace('/lab', '/api/contents')}?token={token}") == 200
    _nowhere(token, seen, page, control_plane, tmp_path)
    # A request that rides on the browser's cookie alone, as another site's would.
    forged = (
        "async () => (await fetch('/api/contents/forged.txt', {method: 'PUT', body: '{\"type\": \"file\"}'})).status"
    )
    assert inner.evaluate(forged) == 403
    inner.close()

    # The next day.
    seen.stop()
    eventually(lambda: not _running(control_plane, seen), what="the container has stopped")
    assert status_or_none(seen.url or f"http://127.0.0.1:{seen.port}/lab") is None
    seen.start()
    # Another browser, which has no cookie of the day before.
    again = page.context.browser.new_context().new_page()
    again.set_default_timeout(60_000)
    again.goto(seen.open_url())
    again.wait_for_function("() => window.jupyterapp?.commands.hasCommand('notebook:create-new')")
    inner_notebook(again, "second.ipynb")
    assert "by the cell" in run_source(again, "print(open('kept.txt').read())")
    again.context.close()

    seen.delete()
    assert control_plane.containers() == []
    assert control_plane.volumes() == []


def _running(control_plane: ControlPlane, notebook: Notebook) -> bool:
    container = control_plane.container(notebook.machine)
    return bool(container and container["State"]["Running"])


def status_or_none(url: str) -> int | None:
    """As ``status``; None where nobody listens."""
    try:
        return status(url)
    except (urllib.error.URLError, OSError):
        return None


def _nowhere(token: str, notebook: Notebook, page: Any, control_plane: ControlPlane, folder: Path) -> None:
    """The token is where nobody looks by accident: not in the engine, not in a log, not in a saved notebook."""
    container = control_plane.container(notebook.machine)
    assert container is not None
    assert token not in json.dumps(container)
    top = control_plane.engine.api.top(names.container_name(notebook.machine))
    assert token not in json.dumps(top)
    assert token not in control_plane.log()
    assert token.encode() not in control_plane.engine.api.logs(names.container_name(notebook.machine))
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    saved = folder / "seen.ipynb"
    eventually(lambda: "oblako-notebooks" in saved.read_text(), what="the outer notebook is saved")
    assert token not in saved.read_text()
