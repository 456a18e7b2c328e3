"""Two kernels and a terminal work on the same instances at once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.plane import ControlPlane, eventually
from tests.support.world import gone, instances, running, runs, tags

ROOT = Path(__file__).resolve().parents[2]
KERNEL = """
import sys, time
from IPython.core.interactiveshell import InteractiveShell
me = sys.argv[1]
shell = InteractiveShell.instance()
def cell(text, tries=1):
    result = shell.run_cell(text)
    if not result.success and tries > 1:
        time.sleep(0.3)
        return cell(text, tries - 1)
    assert result.success, text
cell("%load_ext oblako_magic")
cell(f"%ec2 run --name {me} --tag By={me}")
for number in range(3):
    cell(f"%ec2 reboot shared --no-wait")
    cell(f"%ec2 stop {me}")
    cell(f"%ec2 run --name {me}-{number}")
    cell(f"%ec2 start {me}")
    cell("%ec2 ls")
    cell(f"%ec2 exec {me} 'echo {me} {number} >> /ebs/log'")
    cell(f"%ec2 terminate {me}-{number}")
# The other one may be rebooting it at this very moment.
cell(f"%ec2 exec shared 'echo {me} >> /ebs/log'", tries=20)
print("done", me)
"""


def start(argv: Sequence[str], folder: Path) -> subprocess.Popen[str]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "IPYTHONDIR": str(folder)}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        argv, env=environ, stdin=subprocess.DEVNULL, stdout=pipe, stderr=subprocess.STDOUT, text=True
    )


@pytest.mark.slow
def test_they_see_the_same_and_do_not_hinder_each_other(control_plane: ControlPlane, tmp_path: Path) -> None:
    oblako = [sys.executable, "-m", "oblako_magic"]

    def attempt(*words: str) -> tuple[int, str]:
        process = start([*oblako, *words], tmp_path / "terminal")
        said, _ = process.communicate(timeout=60)
        return process.returncode, said

    def terminal(*words: str) -> str:
        code, said = attempt(*words)
        assert code == 0, said
        return said

    terminal("run", "--name", "shared")
    # A control plane that is killed before the kernels come: both start it, and there is one.
    control_plane.kill()
    kernels = [start([sys.executable, "-c", KERNEL, me], tmp_path / me) for me in "ab"]
    try:
        for number in range(3):
            terminal("run", "--name", f"t-{number}")
            line = f"echo t {number} >> /ebs/log"
            # The kernels reboot it meanwhile: what begins in such a moment fails, and is tried again.
            eventually(lambda line=line: attempt("exec", "shared", line)[0] == 0, what=line)  # type: ignore[misc]
            terminal("terminate", f"t-{number}")
        for me, kernel in zip("ab", kernels, strict=True):
            said, _ = kernel.communicate(timeout=120)
            assert f"done {me}" in said, said
    finally:
        for kernel in kernels:
            kernel.kill()
            kernel.wait()
    left = {tags(one)["Name"]: one for one in instances(control_plane.client())}
    assert {name: one["State"]["Name"] for name, one in left.items()} == dict.fromkeys(("a", "b", "shared"), "running")
    ids = {name: one["InstanceId"] for name, one in left.items()}
    running(control_plane, *ids.values())
    assert len(control_plane.containers()) == 3
    for me in "ab":
        assert control_plane.execute(ids[me], "cat", "/ebs/log") == (0, f"{me} 0\n{me} 1\n{me} 2\n")
    code, log = control_plane.execute(ids["shared"], "cat", "/ebs/log")
    # A reboot may cut a command that has written already.
    assert (code, set(log.splitlines())) == (0, {"a", "b", "t 0", "t 1", "t 2"})
    shown = terminal("ls")
    assert all(key in shown for key in ids.values()), shown
    terminal("stop", "a")
    assert not runs(control_plane, ids["a"])
    terminal("terminate", "a", "b", "shared")
    gone(control_plane, *ids.values())
