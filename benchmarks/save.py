"""``python -m benchmarks.save FOLDER ROUNDS SIZE...``: what one save costs, in a process that has moto. Prints JSON."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any


def _plain_write(path: Path, data: bytes) -> None:
    new = path.with_suffix(".new")
    with new.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def main(folder: Path, rounds: int, sizes: list[int]) -> list[dict[str, Any]]:
    """Measure at each number of records."""
    folder.mkdir(parents=True)
    from oblako_magic.controlplane import lean

    lean.install()
    from moto.ec2.models import ec2_backends

    from oblako_magic.controlplane import semantics, store

    semantics.install()
    lock = threading.RLock()
    kept = store.Store(folder / "state.bin", lock)
    backend = ec2_backends["123456789012"]["us-east-1"]
    lines, have = [], 0
    for size in sizes:
        more = {
            "instance_type": "t3.micro",
            "is_instance_type_default": False,
            "region_name": "us-east-1",
            "tags": {"instance": {"Name": "bench"}},
        }
        backend.run_instances("ami-03cf127a", size - have, None, [], **more)
        have = size
        line: dict[str, Any] = {"records": size, "save": [], "write": [], "held": []}
        for number in range(-2, rounds):
            version = kept.touch()
            begun = time.perf_counter()
            kept.commit(version)
            saved = time.perf_counter() - begun
            data = kept.path.read_bytes()
            begun = time.perf_counter()
            _plain_write(folder / "plain.bin", data)
            written = time.perf_counter() - begun
            begun = time.perf_counter()
            kept._dump()
            held = time.perf_counter() - begun
            if number >= 0:
                for key, value in (("save", saved), ("write", written), ("held", held)):
                    line[key].append(value)
        lines.append({**line, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})
    return lines


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), [int(size) for size in sys.argv[3:]])))
