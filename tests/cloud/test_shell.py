"""A shell on an instance: a terminal of its own, in Python and in a terminal (``oblako shell``)."""

from __future__ import annotations

import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import ioctl
from typing import Any

import pytest

from oblako_magic import Ec2
from oblako_magic.errors import OblakoError
from oblako_magic.handles import Instance
from oblako_magic.shells import Shell
from tests.support.plane import ControlPlane, eventually


class Watched:
    """A shell and all that it has written so far."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell
        self.text = ""
        self.over = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while data := self.shell.read():
            self.text += data.decode(errors="replace")
        self.over.set()

    def type(self, text: str) -> None:
        self.shell.write(text.encode())

    def until(self, text: str) -> None:
        eventually(lambda: text in self.text, what=f"the shell shows {text!r}")


@contextmanager
def opened(cloud: Ec2, machine: Instance, **options: Any) -> Iterator[Watched]:
    shell = cloud.open_shell(machine, **options)
    try:
        yield Watched(shell)
    finally:
        shell.close()


def processes(plane: ControlPlane, instance: Instance) -> str:
    return plane.execute(instance.id, "ps", "-o", "args")[1]


def test_a_terminal_with_a_size_and_a_home(cloud: Ec2, machine: Instance) -> None:
    with opened(cloud, machine, size=(31, 97)) as shell:
        assert not shell.text.startswith("\r\n"), "nothing of what begins it is seen"
        shell.type("stty size; tty; echo $TERM $LANG $0; pwd; echo ä€😀 | wc -c\n")
        shell.until("31 97")
        shell.until("xterm-256color C.UTF-8")
        shell.until("/dev/pts/")
        shell.until("\r\n10\r\n")
        shell.shell.resize(11, 222)
        shell.type("stty size\n")
        shell.until("11 222")


def test_ctrl_c_ends_the_program_and_not_the_shell(cloud: Ec2, machine: Instance, shared_control_plane: Any) -> None:
    with opened(cloud, machine) as shell:
        shell.type("sleep 34567\n")
        eventually(lambda: "sleep 34567" in processes(shared_control_plane, machine))
        shell.type("\x03")
        eventually(lambda: "sleep 34567" not in processes(shared_control_plane, machine))
        shell.type("echo still $((40 + 2))\n")
        shell.until("still 42")


def test_exit_says_its_code(cloud: Ec2, machine: Instance) -> None:
    with opened(cloud, machine) as shell:
        shell.type("exit 7\n")
        assert shell.over.wait(20)
        assert shell.shell.ending() == f"The shell on {machine.label} has ended with exit code 7."


def test_closing_hangs_up_and_leaves_what_has_a_session_of_its_own(
    cloud: Ec2, machine: Instance, shared_control_plane: ControlPlane
) -> None:
    with opened(cloud, machine) as shell, opened(cloud, machine) as other:
        shell.type("setsid sleep 45671 </dev/null >/dev/null 2>&1 &\nsleep 45672 & sleep 45673\n")
        eventually(lambda: all(f"sleep 4567{n}" in processes(shared_control_plane, machine) for n in (1, 2, 3)))
        shell.shell.close()
        assert shell.over.wait(10)
        eventually(lambda: "sleep 45673" not in processes(shared_control_plane, machine))
        assert "sleep 45671" in processes(shared_control_plane, machine)
        other.type("echo alive $((1 + 1))\n")
        other.until("alive 2")
    eventually(lambda: "-l" not in processes(shared_control_plane, machine).split(), what="no shell is left")
    machine.exec("pkill sleep; true")


def test_the_stop_of_the_instance_ends_it_with_a_sentence(cloud: Ec2) -> None:
    (machine,) = cloud.run(name="ends")
    with opened(cloud, machine) as shell:
        shell.type("echo here\n")
        shell.until("here")
        machine.stop()
        assert shell.over.wait(20)
        assert shell.shell.ending() == f"{machine.label} was stopped; the shell has ended."
    with pytest.raises(OblakoError, match="is stopped; start it with"):
        cloud.open_shell(machine)
    machine.terminate()


class Console:
    """``oblako`` in a pseudo-terminal."""

    def __init__(self, *words: str, rows: int = 20, columns: int = 90) -> None:
        self.fd, inner = pty.openpty()
        self.size(rows, columns)
        self.before = termios.tcgetattr(self.fd)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "oblako_magic", *words], stdin=inner, stdout=inner, stderr=inner,
            start_new_session=True, preexec_fn=lambda: ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        self.inner = inner  # kept open, so that the modes of the terminal can be looked at afterwards
        self.text = b""

    def size(self, rows: int, columns: int) -> None:
        ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def until(self, text: str, timeout: float = 30) -> None:
        end = time.monotonic() + timeout
        while text.encode() not in self.text:
            assert time.monotonic() < end, self.text.decode(errors="replace")
            if select.select([self.fd], [], [], 0.2)[0]:
                self.text += os.read(self.fd, 65536)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.fd)
        os.close(self.inner)


def test_in_a_terminal(machine: Instance, shared_control_plane: ControlPlane) -> None:
    console = Console("shell", "machine")
    try:
        console.until("# ")
        console.type("stty size; echo one$((1 + 1))\r")
        console.until("20 90")
        console.until("one2")
        console.size(33, 77)
        os.kill(console.process.pid, signal.SIGWINCH)
        eventually(lambda: machine.exec("stty -F $(ls -t /dev/pts/[0-9]* | head -1) size").ok)
        console.type("stty size\r")
        console.until("33 77")
        console.type("sleep 56789\r")
        eventually(lambda: "sleep 56789" in processes(shared_control_plane, machine))
        console.type("\x03")  # Ctrl-C is the instance's, and ends nothing here
        console.type("exit 3\r")
        console.until(f"The shell on {machine.label} has ended with exit code")
        assert console.process.wait(20) == 0
        assert termios.tcgetattr(console.fd)[:4] == console.before[:4], "the terminal is as it was"
    finally:
        console.close()


def test_without_a_terminal_it_says_so(machine: Instance) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "oblako_magic", "shell", "machine"], capture_output=True, text=True, input="ls\n"
    )
    assert done.returncode == 1
    assert "oblako exec machine COMMAND" in done.stderr
