"""``python -m tests.faults --rounds 200 --seed N``: the long form of the fault tests (``make soak``)."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import uuid
from contextlib import ExitStack
from pathlib import Path

from oblako_magic.engine import build, connect
from oblako_magic.settings import Settings
from tests.faults.world import CONVERGE, FAULTS, Broken, world


def main() -> int:
    """Run the rounds; 0 where every promise held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200, help="how many rounds of faults (200)")
    parser.add_argument("--minutes", type=float, default=60, help="begin no round after so many (60)")
    parser.add_argument("--seed", default=str(time.time_ns() % 10**6), help="decides calls, faults and their moments")
    parser.add_argument(
        "--patience", type=float, default=CONVERGE, help="seconds to converge within; more only on a busy machine (10)"
    )
    parser.add_argument("--only", choices=sorted(FAULTS), action="append", default=[], help="these faults alone")
    args = parser.parse_args()
    if os.name != "posix" or os.geteuid() != 0:
        parser.error("a disk of its own, to be filled, takes root")
    engine = connect(Settings.from_env())
    build.build_tiny(engine.api)
    begun = time.monotonic()
    failure = ""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="oblako-faults-"))
        one = stack.enter_context(world(engine, Path(folder), uuid.uuid4().hex[:12], args.seed))
        one.patience = args.patience
        try:
            for number in range(1, args.rounds + 1):
                if time.monotonic() - begun > args.minutes * 60:
                    break
                one.round(*args.only)
                if number % 10 == 0 and number < args.rounds:
                    print(f"{number} rounds, {time.monotonic() - begun:.0f} s", flush=True)
        except Broken as error:
            failure = str(error)
            print(f"{one.plane.log(400)}\n", file=sys.stderr)
        print(one.report())
    print(f"{time.monotonic() - begun:8.0f} seconds")
    if failure:
        print(f"BROKEN: {failure}")
        return 1
    print("every promise held")
    return 0


if __name__ == "__main__":
    sys.exit(main())
