"""Puts the magics into a shell and takes them out again, without a trace."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from .. import environment
from ..errors import OblakoError
from . import completion, render, render_notebooks
from .magic import Ec2Magics, document
from .switch import sentence

ATTRIBUTE = "_oblako_magic"
"""Where a shell keeps its :class:`Extension`. Shells are ``Any`` here: IPython 8 and 9 type them differently."""


def _pretty(text: Callable[[Any], str]) -> Callable[[Any, Any, bool], None]:
    def show(value: Any, printer: Any, cycle: bool) -> None:
        printer.text(text(value))

    return show


def _exec_text(result: Any) -> str:
    # From the Python API nothing was streamed, so the output is what one wants to see.
    parts = [result.stdout, result.stderr, "" if result.ok else f"exit code {result.exit_code}"]
    return "\n".join(part.rstrip("\n") for part in parts if part)


FORMATTERS: tuple[tuple[str, Callable[[Any], str], Callable[[Any], str] | None], ...] = (
    ("oblako_magic.handles.Instance", render.instance_text, render.instance_html),
    ("oblako_magic.handles.InstanceList", render.instances_text, render.instances_html),
    ("oblako_magic.handles.Status", render.status_text, render.status_html),
    ("oblako_magic.handles.Report", render.report_text, render.report_html),
    ("oblako_magic.handles.ExecResult", _exec_text, None),
    (
        "oblako_magic.notebooks.handles.Notebook",
        render_notebooks.notebook_text,
        render_notebooks.notebook_html,
    ),
    (
        "oblako_magic.notebooks.handles.NotebookList",
        render_notebooks.notebooks_text,
        render_notebooks.notebooks_html,
    ),
    ("oblako_magic.notebooks.handles.NotebookLink", render_notebooks.link_text, render_notebooks.link_html),
    ("oblako_magic.notebooks.handles.Embedded", render_notebooks.embedded_text, render_notebooks.embedded_html),
)
"""How the values of ``handles`` look: by name, so that loading doesn't import them."""


class Extension:
    """What was put into one shell."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        document()
        self.magics = Ec2Magics(shell)
        self._matcher = completion.matcher(self.magics.known, self.magics.known_notebooks)
        self._starter: threading.Thread | None = None
        self._formats: list[tuple[str, str, Any]] = []

    def load(self) -> None:
        """Register everything, and begin to start the control plane."""
        self.shell.register_magics(self.magics)
        if self.shell.Completer is not None:
            self.shell.Completer.custom_matchers.append(self._matcher)
        for name, text, html in FORMATTERS:
            self._format("text/plain", name, _pretty(text))
            if html is not None:
                self._format("text/html", name, html)
        self._format("mimebundle", "oblako_magic.handles.InstanceList", self._live_list)
        self._enter_environment()

    def unload(self) -> None:
        """Take everything out."""
        self.magics.close()
        _close_panels()
        _close_shells()
        if self._starter is not None:
            self._starter.join(5)
        manager = self.shell.magics_manager
        for kind in ("line", "cell"):
            if getattr(manager.magics[kind].get("ec2"), "__self__", None) is self.magics:
                del manager.magics[kind]["ec2"]
        manager.registry.pop(type(self.magics).__name__, None)
        with contextlib.suppress(ValueError):
            self.shell.configurables.remove(self.magics)
        if self.shell.Completer is not None and self._matcher in self.shell.Completer.custom_matchers:
            self.shell.Completer.custom_matchers.remove(self._matcher)
        for kind, name, before in reversed(self._formats):
            formatter = self._formatter(kind)
            formatter.pop(name, None)
            if before is not None:
                formatter.for_type(name, before)

    def _format(self, kind: str, name: str, function: Callable[..., Any]) -> None:
        self._formats.append((kind, name, self._formatter(kind).for_type(name, function)))

    def _formatter(self, kind: str) -> Any:
        display = self.shell.display_formatter
        return display.mimebundle_formatter if kind == "mimebundle" else display.formatters[kind]

    def _live_list(self, value: Any, include: Any = None, exclude: Any = None) -> Any:
        """A list of instances as a live table, beside its text and HTML; only a kernel has somebody to show it to."""
        if not self.magics.widgets or getattr(self.shell, "kernel", None) is None:
            return None
        try:
            from .panel.widget import list_bundle
        except ImportError:  # a broken install of widgets must not keep a list from being shown
            return None
        return list_bundle(value)

    def _enter_environment(self) -> None:
        # Whatever is wrong here, the extension loads: the first subcommand says it again, with the next step.
        try:
            endpoint, start = _control_plane()
            self.magics.switch.on(environment.variables(endpoint, os.environ, _access_key()))
        except (OblakoError, OSError) as error:
            print(f"oblako_magic: {error}")
            return
        print(sentence(self.magics.switch.variables))
        self._starter = threading.Thread(target=_quietly, args=(start, self.magics), name="oblako-start", daemon=True)
        self._starter.start()


def _close_shells() -> None:
    """Hang up what shells there are; nothing is imported for it."""
    shells = sys.modules.get("oblako_magic.frontends.shell.widget")
    if shells is not None:
        shells.close_all()


def _close_panels() -> None:
    """Close what panels there are; nothing is imported for it."""
    hub = sys.modules.get("oblako_magic.frontends.panel.hub")
    if hub is not None:
        hub.close_all()


def _access_key() -> str:
    from ..controlplane import process
    from ..settings import Settings

    return process.access_key(Settings.from_env())


Seen = tuple["list[tuple[str, str]]", "list[str]"]
"""Ids and names of instances, and names of notebook instances."""


def _control_plane() -> tuple[str, Callable[[], Seen]]:
    """The endpoint, and what waits for the control plane, started first if need be, and asks what it has."""
    from ..controlplane import process
    from ..settings import Settings

    settings = Settings.from_env()

    def start() -> Seen:
        # Its own API, not boto3: importing that would take the kernel's time just when the user begins to type.
        answer = process.call(process.ensure(settings), "GET", "/instances")
        rows = [row for row in answer["instances"] if row["state"] != "terminated"]
        # A notebook instance's machine is the service's, and goes by the notebook's name.
        instances = [(row["id"], row["name"]) for row in rows if not row.get("notebook")]
        return instances, sorted(row["notebook"] for row in rows if row.get("notebook"))

    return process.url(settings), start


def _quietly(start: Callable[[], Seen], magics: Ec2Magics) -> None:
    # The first subcommand starts it again and shows the error; a thread has no cell to write into.
    # RuntimeError: the interpreter is going down, and nothing can be registered or started any more.
    with contextlib.suppress(OblakoError, OSError, RuntimeError):
        magics.seen, magics.seen_notebooks = start()


def load(shell: Any) -> None:
    """Load into this shell; a second time changes nothing."""
    if getattr(shell, ATTRIBUTE, None) is None:
        extension = Extension(shell)
        setattr(shell, ATTRIBUTE, extension)
        extension.load()


def unload(shell: Any) -> None:
    """Unload from this shell."""
    extension: Extension | None = getattr(shell, ATTRIBUTE, None)
    if extension is not None:
        delattr(shell, ATTRIBUTE)
        extension.unload()
