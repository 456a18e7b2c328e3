"""What the panels of a kernel share: one feed and one reader of figures."""

from __future__ import annotations

import logging
import threading
import weakref
from typing import TYPE_CHECKING

from .feed import Feed, News
from .figures import Figures
from .rows import Row

if TYPE_CHECKING:
    from ...cloud import Ec2
    from .widget import Panel

log = logging.getLogger(__name__)

_LISTS = 12
"""Lists of instances that stay live at once; the oldest is closed, and its static table stays in the notebook."""


class Hub:
    """Shared by the panels of one ``Ec2``."""

    def __init__(self, ec2: Ec2) -> None:
        self.ec2 = ec2
        self.feed = Feed(ec2)
        self.figures = Figures(ec2, self.rows)
        self._lock = threading.Lock()
        self._panels: list[Panel] = []
        self._live: list[Panel] = []

    def add(self, panel: Panel) -> None:
        """A panel was made."""
        with self._lock:
            self._panels.append(panel)
            lists = [one for one in self._panels if one.mode == "list"]
        for old in lists[:-_LISTS]:
            old.close()

    def drop(self, panel: Panel) -> None:
        """A panel is closed."""
        self.leave(panel)
        with self._lock:
            if panel in self._panels:
                self._panels.remove(panel)

    def panels(self) -> list[Panel]:
        """Those that are not closed."""
        with self._lock:
            return list(self._panels)

    def join(self, panel: Panel) -> None:
        """Somebody looks at the panel: it is told of changes."""
        with self._lock:
            if panel not in self._live:
                self._live.append(panel)
        self.feed.listen(self._changed)

    def leave(self, panel: Panel) -> None:
        """Nobody looks at the panel any more; with the last one the feed ends."""
        with self._lock:
            if panel in self._live:
                self._live.remove(panel)
            empty = not self._live
        if empty:
            self.feed.leave(self._changed)

    def _changed(self, news: News) -> None:
        with self._lock:
            live = list(self._live)
        for panel in live:
            try:
                panel.take(news)
            except Exception:  # one panel's trouble is not the others'
                log.exception("a panel could not be told of a change")

    def rows(self) -> dict[str, Row]:
        """The rows as last heard."""
        return dict(self.feed.snapshot.rows)


_hubs: weakref.WeakKeyDictionary[Ec2, Hub] = weakref.WeakKeyDictionary()
_hubs_lock = threading.Lock()


def hub_of(ec2: Ec2) -> Hub:
    """The hub of an ``Ec2``, made on first need."""
    with _hubs_lock:
        if ec2 not in _hubs:
            _hubs[ec2] = Hub(ec2)
        return _hubs[ec2]


def close_all() -> None:
    """Close every panel of this kernel, with its threads and connections."""
    with _hubs_lock:
        hubs = list(_hubs.values())
        _hubs.clear()
    for hub in hubs:
        for panel in hub.panels():
            panel.close()
