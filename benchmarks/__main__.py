"""``python -m benchmarks [--quick] [--only NAME]... [--no-page]``."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from . import launch, notebooks, records, report, startup
from .harness import Row
from .world import World, world

BENCHMARKS: dict[str, Callable[[World], Iterator[Row]]] = {
    "launch": launch.benchmarks,
    "records": records.benchmarks,
    "load_ext": startup.load_ext,
    "events": launch.events,
    "start": startup.control_plane,
    "save": records.saves,
    "notebooks": notebooks.benchmarks,
}


def main() -> None:
    """Run, print every row when it is there, and write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds, nothing written into the page")
    parser.add_argument(
        "--only", action="append", choices=list(BENCHMARKS), help="these alone; nothing is written into the page"
    )
    parser.add_argument("--no-page", action="store_true", help="leave docs/performance.md as it is")
    arguments = parser.parse_args()
    rows: list[Row] = []
    with (
        tempfile.TemporaryDirectory(prefix="oblako-bench-") as folder,
        world(Path(folder), arguments.quick) as surroundings,
    ):
        for name in arguments.only or BENCHMARKS:
            for row in BENCHMARKS[name](surroundings):
                rows.append(row)
                print(f"{row.group}: {report.table([row]).splitlines()[-1]}", flush=True)
        report.write(rows, surroundings, page=not (arguments.quick or arguments.only or arguments.no_page))
    print(f"\n{report.table(rows)}\n\nwritten: {report.DATA.relative_to(report.ROOT)}")


if __name__ == "__main__":
    main()
