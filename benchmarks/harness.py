"""Rounds of things measured in turn, and the figures that come out of them. No engine, no control plane.

Machines drift and neighbours are noisy: what is compared is measured in pairs, first one, then the other, and in
the next round the other way round. The ratio is taken pair by pair, so that what slows both cancels out.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

Measure = Callable[[], float]
"""Does the thing once, and returns the seconds that it took."""


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of some figures."""

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, figures: Sequence[float]) -> Spread:
        """Of at least one figure."""
        if len(figures) == 1:
            return cls(figures[0], figures[0], figures[0], 1)
        low, middle, high = statistics.quantiles(figures, n=4, method="inclusive")
        return cls(middle, low, high, len(figures))


@dataclass
class Row:
    """One line of the table.

    Parameters
    ----------
    group, name : str
        What was measured.
    seconds : Spread
        Of ours.
    against : str
        What it is compared with; empty where it stands alone.
    baseline : Spread or None
        Seconds of that.
    ratio, difference : Spread or None
        Pair by pair: ours through the other, ours less the other.
    target : float or None
        The most that the ratio may be, or the seconds where ``absolute``.
    absolute : bool
    note : str
    """

    group: str
    name: str
    seconds: Spread
    against: str = ""
    baseline: Spread | None = None
    ratio: Spread | None = None
    difference: Spread | None = None
    target: float | None = None
    absolute: bool = False
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        if self.target is None:
            return None
        if not self.absolute:
            return self.ratio is not None and self.ratio.median <= self.target
        return (self.difference or self.seconds).median <= self.target

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "met": self.met}


def timed(call: Callable[[], Any]) -> float:
    """The seconds that a call takes."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def interleave(measures: Sequence[Measure], rounds: int, *, warm_up: int = 1) -> list[list[float]]:
    """Measure several things in turn.

    Parameters
    ----------
    measures : sequence of callables
    rounds : int
    warm_up : int
        Rounds before, that don't count.

    Returns
    -------
    list of list of float
        For each measure its seconds, round by round.
    """
    figures: list[list[float]] = [[] for _ in measures]
    for number in range(-warm_up, rounds):
        order = range(len(measures)) if number % 2 else reversed(range(len(measures)))
        for index in order:
            seconds = measures[index]()
            if number >= 0:
                figures[index].append(seconds)
    return figures


def compare(
    group: str, name: str, ours: Measure, against: str, other: Measure, rounds: int, *, warm_up: int = 1, **more: Any
) -> Row:
    """Measure ours and the other in turn."""
    mine, theirs = interleave([ours, other], rounds, warm_up=warm_up)
    return paired(group, name, mine, against, theirs, **more)


def paired(group: str, name: str, mine: Sequence[float], against: str, theirs: Sequence[float], **more: Any) -> Row:
    """The row of figures that belong together round by round."""
    pairs = list(zip(mine, theirs, strict=True))
    return Row(
        group,
        name,
        Spread.of(mine),
        against,
        Spread.of(theirs),
        Spread.of([a / b for a, b in pairs]),
        Spread.of([a - b for a, b in pairs]),
        **more,
    )


def alone(group: str, name: str, measure: Measure, rounds: int, *, warm_up: int = 1, **more: Any) -> Row:
    """Measure one thing."""
    (figures,) = interleave([measure], rounds, warm_up=warm_up)
    return Row(group, name, Spread.of(figures), **more)
