"""Which technique carries the panel's table: rows of plain ipywidgets against one module of our own on anywidget.

``python -m benchmarks.panel_rows [ROWS]`` opens each in JupyterLab (Chromium, loopback) and prints: seconds until the
rows are on the screen, messages and bytes for it, seconds and bytes of one changed row. ADR 9 has the figures.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.browser.lab import Notebook, chromium, jupyter_lab, write_notebook

COUNT = (
    "sent = [0, 0]\n"
    """
from IPython import get_ipython
session = get_ipython().kernel.session
def counted(socket, kind, *a, _send=session.send, **k):
    message = _send(socket, kind, *a, **k)
    if str(kind).startswith('comm'):
        sent[0] += 1; sent[1] += len(repr(message["content"]))
    return message
session.send = counted
"""
)
PLAIN = """
import ipywidgets as w
n = {rows}
def row(i):
    cells = [w.HTML(f'<b class="probe">row {{i}} {{j}}</b>') for j in range(9)]
    return w.HBox([w.Checkbox(indent=False, layout=w.Layout(width='30px')), *cells,
                   *(w.Button(description=d) for d in ('Start', 'Stop', 'More'))])
table = w.VBox([row(i) for i in range(n)])
table
"""
OWN = """
from oblako_magic.frontends.panel import widget
from oblako_magic.frontends.panel.feed import News
from oblako_magic.frontends.panel.rows import Snapshot, difference, rows_of
n = {rows}
def raw(i, name):
    return dict(id=f'i-{{i:017x}}', state='running', name=name, account='123456789012', region='us-east-1',
        backed=False, image='', container='', container_id='', address='',
        ports=[dict(container_port=80, host_port=20000 + i,
        host='127.0.0.1')], impaired='', note='', progress='', user_data='', rebooting=False, reason='', reason_code='',
        type='t3.micro', image_id='ami-1', private_ip='10.0.0.1', launch_time='2026-01-01T00:00:00+00:00', groups=[],
        tags={{}}, volumes=[])
class Cloud:
    region = 'us-east-1'
    class settings: pass
cloud = Cloud()
hub = widget.hub_of(cloud)
hub.feed.look_once = lambda: None
hub.feed.listen = lambda listener: None
hub.feed.snapshot = Snapshot(1, rows_of([raw(i, f'row {{i}} 0') for i in range(n)], [], '123456789012'))
cloud.instances = lambda: []
table = widget.Panel(cloud)
def change(name):
    before, now = hub.feed.snapshot, dict(hub.feed.snapshot.rows)
    new = rows_of([raw(0, name)], [], '123456789012')
    now.update(new)
    hub.feed.snapshot = Snapshot(2, now)
    hub._changed(News(before, hub.feed.snapshot, *difference(before.rows, now), []))
table
"""
CHANGE = {
    "plain": "table.children[-1].children[1].value = '<b class=\"probe\">changed</b>'",
    "own": "change('changed')",
}


def measure(kind: str, rows: int, notebook: Notebook) -> dict[str, Any]:
    """Open the table and change a row of it."""
    page = notebook.page
    notebook.run(0)
    began = time.monotonic()
    notebook.start(1)
    # Of our own table the rows on the screen have elements, of the other one all.
    last = f"row {rows - 1} 8" if kind == "plain" else "row 0 0"
    page.wait_for_function("text => document.body.innerText.includes(text)", arg=last, timeout=120_000)
    shown = time.monotonic() - began
    notebook.run(2)
    began = time.monotonic()
    notebook.start(3)
    page.wait_for_function(
        "where => [...document.querySelectorAll(where)].some(one => one.textContent.includes('changed'))",
        arg=".probe" if kind == "plain" else ".oblako-panel .ob-table",
        timeout=60_000,
    )
    changed = time.monotonic() - began
    notebook.run(4)
    return {
        "technique": kind, "rows": rows, "shown after (s)": round(shown, 2), "changed after (s)": round(changed, 2),
        "messages": notebook.output(2).inner_text().strip(), "of one change": notebook.output(4).inner_text().strip(),
    }  # fmt: skip


def main(rows: int = 100) -> None:
    """Measure both and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tell = "print(*sent, 'bytes'); sent[:] = [0, 0]"
        for kind, source in (("plain", PLAIN), ("own", OWN)):
            write_notebook(folder / f"{kind}.ipynb", [COUNT, source.format(rows=rows), tell, CHANGE[kind], tell])
        with jupyter_lab(folder) as url, chromium() as browser:
            for kind in ("plain", "own"):
                context = browser.new_context(viewport={"width": 1440, "height": 1000})
                print(measure(kind, rows, Notebook(context.new_page(), url.format(kind))))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
