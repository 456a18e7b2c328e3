"""The panel as a widget: the model that the browser shows, and the way of messages between the two.

The whole table is a trait that is made when somebody asks for it (a new view, a reload of the page); afterwards only
changed rows travel, as messages with a number, so that the browser notices a gap and asks for the whole.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import anywidget
from traitlets import Dict, Unicode

from .. import render
from .actions import Actions
from .bundle import script, style
from .feed import News
from .figures import Watcher
from .hub import hub_of
from .known import Known
from .rows import shown
from .worker import Worker

if TYPE_CHECKING:
    from ...cloud import Ec2
    from ...handles import Instance, InstanceList

_ONCE_MORE = (0.6, 2.5)
"""Seconds after which the whole is sent again to a browser that has not been heard: a running cell keeps the kernel
from hearing it, and what was sent before it listened is lost."""


class Panel(anywidget.AnyWidget):
    """A live table of instances.

    Parameters
    ----------
    ec2 : Ec2
    instances : sequence of Instance, optional
        Those alone; by default all that there are and will be, with a head and a launch form.
    """

    _esm = script()
    _css = style()
    mode = Unicode("panel").tag(sync=True)
    key = Unicode().tag(sync=True)
    """Another one for each panel."""
    view = Dict().tag(sync=True)
    """What the browser has chosen: columns, order, filter."""
    whole = Dict().tag(sync=True, to_json=lambda value, panel: panel.everything())

    def __init__(self, ec2: Ec2, instances: Sequence[Instance] | None = None) -> None:
        self._hub = hub_of(ec2)
        self._ids = None if instances is None else frozenset(instance.id for instance in instances)
        self._given = list(instances) if instances is not None else None
        self._sending = threading.RLock()
        self._number = 0
        self._heard_of = False
        self._over = False
        self._worker = Worker()
        self._known = Known()
        self._actions = Actions(self._hub, self._answer)
        self._watcher = Watcher(self._say)
        self._watcher.head = instances is None
        self._timers: list[threading.Timer] = []
        self._hub.feed.look_once()
        super().__init__(mode="panel" if instances is None else "list", key=secrets.token_hex(8))
        self.on_msg(self._heard)
        self._hub.add(self)
        self._hub.join(self)
        for seconds in _ONCE_MORE:
            timer = threading.Timer(seconds, self._again)
            timer.daemon = True
            timer.start()
            self._timers.append(timer)

    # -- to the browser -----------------------------------------------------------------------------

    def everything(self) -> dict[str, Any]:
        """All that a new view needs."""
        with self._sending:
            snapshot = self._hub.feed.snapshot
            rows = shown(snapshot.rows, self._ids)
            events = [event for event in list(self._hub.feed.events) if self._ids is None or event["id"] in self._ids]
            return {
                "number": self._number,
                "heard": snapshot.revision is not None,
                "rows": list(rows.values()),
                "problem": snapshot.problem,
                "events": events,
                "head": self._watcher.last_head or {},
            }

    def _say(self, message: dict[str, Any]) -> None:
        with self._sending:
            if message["kind"] in ("head", "figures"):
                # Jupyter's server drops what comes too fast: the next reading tells that rows were lost, too.
                message = {**message, "number": self._number}
            if not self._over:
                self.send(message)

    def _again(self) -> None:
        if not self._heard_of:
            self._say({"kind": "whole", **self.everything()})

    def take(self, news: News) -> None:
        """Tell the browser what has changed; called in the feed's thread."""
        changed, gone, events = news.changed, news.gone, news.events
        if self._ids is not None:
            changed = [row for row in changed if row["id"] in self._ids]
            gone = [key for key in gone if key in self._ids]
            events = [event for event in events if event["id"] in self._ids]
            if not (changed or gone or events or news.before.problem != news.now.problem):
                return
        with self._sending:
            self._number += 1
            self._say(
                {
                    "kind": "rows",
                    "number": self._number,
                    "changed": changed,
                    "gone": gone,
                    "events": events,
                    "problem": news.now.problem,
                }
            )

    # -- from the browser ---------------------------------------------------------------------------

    def _heard(self, _: Any, content: dict[str, Any], buffers: Any) -> None:
        """Take a message: nothing is done here that takes time, the kernel's own thread is the user's.

        A browser that was not told that its message was heard sends it again, with the same number: it is told once
        more, with the answer where there is one, and nothing is done twice.
        """
        kind, request = content.get("kind"), content.get("request")
        if request is not None:
            self._say({"kind": "heard", "request": request})
            if not self._known.new(request):
                answer = self._known.answer(request)
                if answer is not None:
                    self._say(answer)
                return
        if kind == "hello":
            self._heard_of = True
            self._hub.join(self)
            if content.get("number") != self._number or content.get("again"):
                self._say({"kind": "whole", **self.everything()})
        elif kind == "visible":
            ids = content.get("ids")
            if ids is None:
                self._hub.figures.leave(self._watcher)
            else:
                self._watcher.visible = frozenset(map(str, ids))
                self._hub.figures.watch(self._watcher)
        elif kind == "unseen":
            self._rest()
        elif request is not None:
            self._worker.submit(lambda: self._actions.perform(content))

    def _answer(self, message: dict[str, Any]) -> None:
        if message["kind"] == "reply":
            self._known.answered(message["request"], message)
        self._say(message)

    def _rest(self) -> None:
        """Nobody looks: no thread and no connection for this one."""
        for timer in self._timers:
            timer.cancel()
        self._actions.close()
        self._hub.figures.leave(self._watcher)
        self._hub.leave(self)

    def close(self) -> None:
        """End it; a second time changes nothing."""
        if not self._over:
            self._rest()
            with self._sending:
                self._over = True
            self._worker.close()
            self._hub.drop(self)
        super().close()

    # -- without a browser --------------------------------------------------------------------------

    def _instances(self) -> Sequence[Instance]:
        return self._given if self._given is not None else self._hub.ec2.instances()

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle: Any = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
        machines = self._instances()
        data["text/plain"] = render.instances_text(machines)
        data["text/html"] = render.instances_html(machines)
        return data, metadata


def list_bundle(instances: InstanceList) -> dict[str, Any] | None:
    """The display of a list of instances: live where a browser shows widgets; None where it is not about this cloud."""
    if not instances or any(instance.ec2 is None for instance in instances):
        return None
    ec2 = instances[0].ec2
    assert ec2 is not None
    data: dict[str, Any] = Panel(ec2, instances)._repr_mimebundle_()[0]
    return data
