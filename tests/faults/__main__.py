"""``python -m tests.faults --rounds 200 --seed N``: the long form of the fault tests (``make soak``)."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
import uuid
from contextlib import ExitStack
from pathlib import Path

from oblako_magic.engine import Engine, build, connect
from oblako_magic.engine.client import connect_url
from oblako_magic.settings import Settings
from tests.faults.world import CONVERGE, FAULTS, Broken, world
from tests.support.dockerd import Daemon, lacking, own_docker


def _engine(stack: ExitStack, which: str) -> tuple[Engine, Daemon | None]:
    settings = Settings.from_env()
    daemon = stack.enter_context(own_docker()) if which == "own" else None
    engine = connect_url(daemon.url, settings) if daemon else connect(settings)
    stack.callback(engine.close)
    build.build_tiny(engine.api)
    return engine, daemon


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
    parser.add_argument(
        "--engine",
        choices=("own", "machine"),
        default="machine" if lacking() else "own",
        help="own: a Docker daemon for this run alone, which is ended and started again, too (where that is possible)",
    )
    args = parser.parse_args()
    if os.name != "posix" or os.geteuid() != 0:
        parser.error("a disk of its own, to be filled, takes root")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # also then nothing is left behind
    begun = time.monotonic()
    failure = ""
    with ExitStack() as stack:
        engine, daemon = _engine(stack, args.engine)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="oblako-faults-"))
        one = stack.enter_context(world(engine, Path(folder), uuid.uuid4().hex[:12], args.seed, daemon))
        try:
            for number in range(1, args.rounds + 1):
                if time.monotonic() - begun > args.minutes * 60:
                    break
                one.round(*args.only)
                if number % 10 == 0 and number < args.rounds:
                    print(f"{number} rounds, {time.monotonic() - begun:.0f} s", flush=True)
        except Broken as error:
            failure = str(error)
            print(f"{one.plane.log(400)}\n{daemon.log() if daemon else ''}\n", file=sys.stderr)
        print(one.report())
        late = sum(took > args.patience for took in one.took)
    if late:
        failure = failure or f"{late} rounds took more than {args.patience:g} s to converge"
    print(f"{time.monotonic() - begun:8.0f} seconds")
    if failure:
        print(f"BROKEN: {failure}")
        return 1
    print("every promise held")
    return 0


if __name__ == "__main__":
    sys.exit(main())
