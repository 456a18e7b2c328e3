"""The figures as a Markdown table in docs/performance.md, and as JSON beside the build."""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from .harness import Row, Spread
from .world import World

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "performance.md"
DATA = ROOT / "build" / "benchmarks.json"
BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def machine(world: World) -> dict[str, str]:
    """What the figures depend on; nothing that names the machine."""
    packages = ("moto", "boto3", "docker", "cheroot", "ipython")
    return {
        "processor": f"{os.cpu_count()} cores of {_processor()}",
        "memory": f"{psutil.virtual_memory().total / (1 << 30):.0f} GiB",
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "engine": world.engine.title.partition(" (")[0] if world.engine else "none",
        "packages": ", ".join(f"{name} {version(name)}" for name in packages),
        # Another's work on the same cores is in every figure; of an idle machine it is below 1.
        "load at the end": f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown",
        "date": datetime.datetime.now(tz=datetime.timezone.utc).strftime("%Y-%m-%d"),
    }


def _time(spread: Spread | None) -> str:
    if spread is None:
        return ""
    if spread.median >= 1:
        return f"{spread.median:.2f} s ({spread.low:.2f}-{spread.high:.2f})"
    return f"{1e3 * spread.median:.1f} ms ({1e3 * spread.low:.1f}-{1e3 * spread.high:.1f})"


def _ratio(row: Row) -> str:
    if row.ratio is None:
        return ""
    return f"{row.ratio.median:.2f} ({row.ratio.low:.2f}-{row.ratio.high:.2f})"


def _target(row: Row) -> str:
    if row.target is None:
        return ""
    what = f"{1e3 * row.target:.0f} ms" if row.absolute else f"{row.target:.2f}"
    return f"<= {what}: {'met' if row.met else '**missed**'}"


def _difference(row: Row) -> str:
    return f"{1e3 * row.difference.median:+.1f} ms" if row.difference else ""


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown; medians, and the quartiles in parentheses."""
    head = ["What", "Time", "Against", "Its time", "Ratio", "Difference", "Target", "Rounds"]
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join('---' for _ in head)}|"]
    group = ""
    groups = list(dict.fromkeys(row.group for row in rows))
    for row in sorted(rows, key=lambda row: groups.index(row.group)):
        if row.group != group:
            group = row.group
            lines.append(f"| **{group}** |{' |' * (len(head) - 1)}")
        name = f"{row.name} ({row.note})" if row.note else row.name
        cells = [
            name,
            _time(row.seconds),
            row.against,
            _time(row.baseline),
            _ratio(row),
            _difference(row),
            _target(row),
        ]
        lines.append(f"| {' | '.join([*cells, str(row.seconds.rounds)])} |")
    return "\n".join(lines)


def write(rows: Sequence[Row], world: World, *, page: bool) -> None:
    """Write the JSON and, between its markers, the page's table."""
    facts = machine(world)
    data: dict[str, Any] = {"machine": facts, "quick": world.quick, "rows": [row.plain() for row in rows]}
    DATA.parent.mkdir(exist_ok=True)
    DATA.write_text(json.dumps(data, indent=1) + "\n")
    if not page:
        return
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    described = "; ".join(f"{key}: {value}" for key, value in facts.items())
    PAGE.write_text(f"{before}{BEGIN}\n{described}.\n\n{table(rows)}\n{END}{after}")
