"""Notebook instances as HTML and as plain text; as ``render``, but for the links, which are asked for when shown.

A presigned link lives for five minutes and one use, so one that was made with the handle would mostly be dead. What is
shown, and saved with the notebook, holds no token.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from html import escape
from typing import TYPE_CHECKING

from ..errors import OblakoError
from ..names import TAG_IDLE, TAG_LIFETIME
from . import render
from .parser import MAGIC
from .render import Html

if TYPE_CHECKING:
    from ..notebooks import Embedded, Notebook, NotebookLink

_LIKE = {
    "InService": "running",
    "Pending": "pending",
    "Stopping": "stopping",
    "Updating": "pending",
    "Deleting": "stopping",
}
"""Statuses by the instance states whose colours they have."""
HEADERS = ("Name", "Status", "Type", "Image", "Address")
NOTE = "logs in once, within 5 minutes"


def _status_html(notebook: Notebook) -> Html:
    colour = render.COLOURS.get(_LIKE.get(notebook.status, "stopped"), "")
    if notebook.status == "Failed":
        colour = render.WRONG
    return Html(f'<span style="color: {colour};" aria-hidden="true">●</span> {escape(notebook.status)}')


def _fresh(notebook: Notebook) -> str:
    """A link that logs in; empty where there is none."""
    if notebook.status != "InService" or notebook.client is None:
        return ""
    try:
        return notebook.client.link(notebook).url
    except OblakoError:
        return ""


def _links(notebooks: Sequence[Notebook]) -> list[str]:
    if not notebooks:
        return []
    with ThreadPoolExecutor(min(8, len(notebooks))) as pool:
        return list(pool.map(_fresh, notebooks))


def _note(name: str) -> str:
    return f"{NOTE}; {MAGIC} notebook open {name} gives another one."


def notebooks_html(notebooks: Sequence[Notebook]) -> str:
    """A table of notebook instances, each with a link that logs in."""
    if not notebooks:
        return render.faint_html("no notebooks")
    links = _links(notebooks)
    rows = [
        (
            notebook.name,
            _status_html(notebook),
            notebook.type,
            notebook.image,
            render.link(link, f"open {notebook.name}") if link else notebook.url,
        )
        for notebook, link in zip(notebooks, links, strict=True)
    ]
    note = [f"Each link {_note('NAME')}"] if any(links) else []
    return render.table_html(HEADERS, rows, kind="notebooks", below=[*_remarks(notebooks), *note])


def notebooks_text(notebooks: Sequence[Notebook]) -> str:
    """A table of notebook instances, with addresses that hold no secret."""
    if not notebooks:
        return "no notebooks"
    rows = [(n.name, n.status, n.type, n.image or "-", n.url or "-") for n in notebooks]
    lines = [render.table_text(HEADERS, rows), *(f"  {line}" for line in _remarks(notebooks))]
    if any(notebook.status == "InService" for notebook in notebooks):
        lines.append(f"  {MAGIC} notebook open NAME gives a link that logs in.")
    return "\n".join(lines)


def _remarks(notebooks: Sequence[Notebook]) -> list[str]:
    said: dict[str, list[str]] = {}
    for notebook in notebooks:
        text = notebook.progress or (notebook.failure_reason if notebook.status == "Failed" else "")
        if text:
            said.setdefault(text, []).append(notebook.name)
    return [f"{render.few(whom)}: {text}" for text, whom in said.items()]


def _facts(notebook: Notebook) -> list[tuple[str, object]]:
    ports = ", ".join(port.url for port in notebook.ports if port.host_port)
    facts: list[tuple[str, object]] = [
        ("now", notebook.progress),
        ("reason", notebook.failure_reason if notebook.status == "Failed" else ""),
        ("type", notebook.type),
        ("image", notebook.image),
        ("volume", f"{notebook.volume_size} GiB" if notebook.volume_size else ""),
        ("ports", ports),
        ("lifecycle", notebook.lifecycle_config),
        ("lifetime", _seconds(notebook.tags.get(TAG_LIFETIME, ""))),
        ("idle", _seconds(notebook.tags.get(TAG_IDLE, ""))),
        ("machine", notebook.machine),
    ]
    return [(name, value) for name, value in facts if value]


def _seconds(text: str) -> str:
    return f"stops after {text} s" if text else ""


def notebook_html(notebook: Notebook) -> str:
    """A card of one notebook instance, with a link that logs in."""
    link = _fresh(notebook)
    title = Html(f"<strong>{escape(notebook.name)}</strong> &nbsp;{_status_html(notebook)}")
    opened = Html(f"{render.link(link, 'open JupyterLab')} ({escape(_note(notebook.name).rstrip('.'))})")
    way = [("link", opened)] if link else []
    address = [("address", notebook.url)] if notebook.url else []
    return render.pairs_html(title, [*way, *address, *_facts(notebook)], kind="notebook")


def notebook_text(notebook: Notebook) -> str:
    """The lines of one notebook instance, without a link: the address holds no secret."""
    way = (
        [("address", notebook.url), ("log in", f"{MAGIC} notebook open {notebook.name}")]
        if notebook.status == "InService"
        else []
    )
    return render.pairs_text(f"{notebook.name} {notebook.status}", [*way, *_facts(notebook)])


def link_html(link: NotebookLink) -> str:
    """A link that logs in."""
    return f"{render.link(link.url, f'open {link.name}')} {render.faint_html(f'({_note(link.name)})')}"


def link_text(link: NotebookLink) -> str:
    """A link that logs in, to copy."""
    return f"{link.url}\n  {_note(link.name)}"


_FRAME = """
(() => {
  const frame = document.getElementById(ID), link = new URL(URL_);
  if (location.hostname === "localhost") link.hostname = "localhost";
  frame.src = link.href;
})();
"""
"""Sets the frame's address. Cookies are a site's, and a browser takes none in a frame of another site: this page may be
at localhost, where JupyterLab opens its own, as well as at 127.0.0.1."""


def embedded_html(frame: Embedded) -> str:
    """JupyterLab in a frame."""
    mark = f"oblako-lab-{secrets.token_hex(8)}"
    said = f"The frame shows it once; {MAGIC} notebook open {frame.link.name} --embed shows it again."
    # JSON is not HTML: the end of a script must not be in it.
    script = _FRAME.replace("ID", json.dumps(mark)).replace("URL_", json.dumps(frame.link.url).replace("<", "\\u003c"))
    return (
        f'<iframe id="{mark}" class="oblako-lab" title="JupyterLab of {escape(frame.link.name)}" '
        f'width="100%" height="{frame.height}" referrerpolicy="no-referrer" '
        'allow="clipboard-read; clipboard-write" style="border: 1px solid var(--jp-border-color2, #e0e0e0);"></iframe>'
        f"<script>{script}</script>"
        f"<div>{render.faint_html(said)}</div>"
    )


def embedded_text(frame: Embedded) -> str:
    """What is there instead of a frame."""
    return f"JupyterLab of {frame.link.name} in a frame; here: {MAGIC} notebook open {frame.link.name}"


def watched(notebooks: Sequence[Notebook]) -> str:
    """The line of a wait: what the notebooks are doing."""
    if len(notebooks) == 1:
        (notebook,) = notebooks
        return " ".join((notebook.name, notebook.status)) + (f", {notebook.progress}" if notebook.progress else "")
    states = [notebook.status for notebook in notebooks]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    busy = next((f"{n.name}: {n.progress}" for n in notebooks if n.progress), "")
    return f"{len(notebooks)} notebooks: {counts}" + (f", {busy}" if busy else "")
