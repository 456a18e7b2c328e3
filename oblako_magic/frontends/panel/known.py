"""Which of the browser's messages were heard, so that one that is sent twice is done once. Pure; no I/O."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

_KEPT = 200
"""Messages that are remembered: a browser sends one again within seconds or not at all."""


class Known:
    """The last messages by their numbers, with the answers to them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: OrderedDict[Any, dict[str, Any] | None] = OrderedDict()

    def new(self, number: Any) -> bool:
        """Take note of a message; False where it is known."""
        with self._lock:
            if number in self._answers:
                return False
            self._answers[number] = None
            if len(self._answers) > _KEPT:
                self._answers.popitem(last=False)
            return True

    def answered(self, number: Any, answer: dict[str, Any]) -> None:
        """Keep the answer to a message."""
        with self._lock:
            if number in self._answers:
                self._answers[number] = answer

    def answer(self, number: Any) -> dict[str, Any] | None:
        """The answer to a message; None where there is none yet."""
        with self._lock:
            return self._answers.get(number)
