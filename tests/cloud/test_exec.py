"""Commands on an instance: what comes back, and what is left running there."""

from __future__ import annotations

import os
import signal
import threading
import time
import tracemalloc
import uuid
from typing import Any

import pytest

from oblako_magic import Ec2
from oblako_magic.errors import OblakoError, WaitError
from oblako_magic.handles import Instance
from tests.support.plane import ControlPlane, eventually


def processes(plane: ControlPlane, instance: Instance) -> str:
    """The command lines of all that runs on the instance."""
    return plane.execute(instance.id, "ps", "-o", "args")[1]


def long_sleep() -> str:
    """A sleep that no other test has: a number of seconds that is as good as a name."""
    return f"sleep {uuid.uuid4().int % 10**8 + 10**8}"


class TestWhatComesBack:
    def test_script_with_its_streams_apart(self, machine: Instance) -> None:
        result = machine.exec("echo out; echo err >&2; false || echo more; exit 7")
        assert (result.exit_code, result.stdout, result.stderr) == (7, "out\nmore\n", "err\n")
        assert not result.ok

    def test_several_lines_and_quotes(self, machine: Instance) -> None:
        script = "a='two words'\nfor i in 1 2; do\n  printf '%s\\n' \"$a $i\"\ndone\n"
        assert machine.exec(script).stdout == "two words 1\ntwo words 2\n"

    def test_argv_is_no_script(self, machine: Instance) -> None:
        result = machine.exec(["echo", "$HOME", "a  b", "; echo no"])
        assert result.stdout == "$HOME a  b ; echo no\n"

    @pytest.mark.parametrize("head", ["#!/bin/sh", "#!/usr/bin/env sh", "#!/bin/sh -e"])
    def test_shebang(self, machine: Instance, head: str) -> None:
        result = machine.exec(f"{head}\necho $0 | grep -c tmp\nexit 5\n")
        assert (result.exit_code, result.stdout) == (5, "1\n")

    def test_shebang_of_another_interpreter(self, machine: Instance) -> None:
        assert machine.exec("#!/bin/awk -f\nBEGIN { print 6 * 7 }\n").stdout == "42\n"

    def test_nothing_is_left_of_a_script(self, machine: Instance) -> None:
        before = machine.exec(["ls", "/tmp"]).stdout
        machine.exec("#!/bin/sh\ntrue\n")
        machine.exec("true #" + "x" * 200_000)
        assert machine.exec(["ls", "/tmp"]).stdout == before

    def test_script_longer_than_an_argument_may_be(self, machine: Instance) -> None:
        filler = "\n".join(f": {'x' * 90}" for _ in range(3000))
        assert machine.exec(f"{filler}\necho the end\n").stdout == "the end\n"
        assert machine.exec(f"#!/bin/sh\n{filler}\necho the end\n").stdout == "the end\n"

    def test_user_workdir_and_environment(self, machine: Instance) -> None:
        shown = machine.exec(
            'id -un; pwd; echo "$GREETING"', user="ec2-user", workdir="/var", env={"GREETING": "hi  you"}
        )
        assert shown.stdout == "ec2-user\n/var\nhi  you\n"
        assert machine.exec("id -u").stdout == "0\n"

    def test_an_interpreter_that_is_not_there(self, machine: Instance) -> None:
        result = machine.exec("#!/no/such/interpreter -x\n")
        assert result.exit_code in (126, 127)
        assert result.stderr.startswith("/no/such/interpreter: ")

    def test_a_command_that_is_not_there(self, machine: Instance) -> None:
        assert machine.exec(["no-such-command"]).exit_code in (126, 127)

    def test_a_folder_that_is_not_there(self, machine: Instance) -> None:
        with pytest.raises(OblakoError, match="has no folder /no/such/folder"):
            machine.exec("true", workdir="/no/such/folder")

    def test_a_user_that_is_not_there(self, machine: Instance) -> None:
        with pytest.raises(OblakoError, match="has no user nobody-made-it"):
            machine.exec("true", user="nobody-made-it")

    def test_a_command_may_end_with_the_code_of_a_refusal(self, machine: Instance) -> None:
        assert machine.exec("exit 126", user="ec2-user", workdir="/var").exit_code == 126

    def test_check_raises_with_the_last_line(self, machine: Instance) -> None:
        with pytest.raises(OblakoError, match=r"exit code 3: no luck"):
            machine.exec("echo fine; echo no luck >&2; exit 3", check=True)
        assert machine.exec("echo fine", check=True).stdout == "fine\n"

    def test_killed_by_a_signal(self, machine: Instance) -> None:
        assert machine.exec("kill -9 $$").exit_code == 137

    def test_binary_junk(self, machine: Instance) -> None:
        result = machine.exec(r"printf '\000\001\377ok\n'; head -c 100000 /dev/urandom >&2")
        assert result.stdout == "\x00\x01\ufffdok\n"
        assert result.ok
        assert "\ufffd" in result.stderr

    def test_a_character_that_comes_in_two_pieces(self, cloud: Ec2, machine: Instance) -> None:
        pieces: list[str] = []
        script = r"printf 'caf\303'; sleep 0.4; printf '\251 \360\237'; sleep 0.4; printf '\232\200\n'"
        result = cloud.exec(machine, script, on_stdout=pieces.append)
        assert len(pieces) >= 3
        assert "".join(pieces) == result.stdout == "café \N{ROCKET}\n"

    def test_output_comes_while_it_is_written(self, cloud: Ec2, machine: Instance) -> None:
        """The script goes on only when its first line has been seen here."""
        seen: list[str] = []

        def answer(text: str) -> None:
            seen.append(text)
            if "ask" in text:
                machine.exec("touch /tmp/answered")

        script = "rm -f /tmp/answered; echo ask; while [ ! -e /tmp/answered ]; do sleep 0.05; done; echo thanks"
        result = cloud.exec(machine, script, on_stdout=answer, timeout=20)
        assert result.stdout == "ask\nthanks\n"

    def test_twenty_megabytes_in_bounded_memory(self, cloud: Ec2, machine: Instance) -> None:
        size = 20_000_000
        got = 0

        def count(text: str) -> None:
            nonlocal got
            got += len(text)

        cloud.exec(machine, "true")  # what is made once is not counted
        tracemalloc.start()
        try:
            result = cloud.exec(machine, f"head -c {size} /dev/zero | tr '\\0' x; echo; echo end", on_stdout=count)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert got == size + len("\nend\n")
        assert len(result.stdout) == 1 << 20
        assert result.stdout.endswith("x\nend\n")
        assert peak < 12 << 20

    def test_all_of_it_where_nobody_listens(self, machine: Instance) -> None:
        assert len(machine.exec("head -c 3000000 /dev/zero | tr '\\0' y").stdout) == 3_000_000


class TestWhatIsStopped:
    @pytest.mark.parametrize("user", [None, "ec2-user"])
    def test_timeout(self, shared_control_plane: ControlPlane, machine: Instance, user: str | None) -> None:
        command = long_sleep()
        with pytest.raises(WaitError, match=r"did not end within 0\.7 s"):
            machine.exec(f"{command} & {command}; echo never", timeout=0.7, user=user)
        assert command not in processes(shared_control_plane, machine)

    def test_timeout_of_one_that_will_not_go(self, shared_control_plane: ControlPlane, machine: Instance) -> None:
        marker = long_sleep()
        script = f"trap '' TERM INT; while true; do {marker} & wait; done"
        with pytest.raises(WaitError):
            machine.exec(script, timeout=0.5)
        eventually(lambda: marker not in processes(shared_control_plane, machine), what="killed")

    def test_one_in_time_is_left_alone(self, machine: Instance) -> None:
        assert machine.exec("sleep 0.3; echo done", timeout=20).stdout == "done\n"

    def test_other_commands_go_on(self, shared_control_plane: ControlPlane, machine: Instance) -> None:
        other, stopped = long_sleep(), long_sleep()
        machine.exec(f"{other} > /dev/null 2>&1 < /dev/null & true")
        with pytest.raises(WaitError):
            machine.exec(stopped, timeout=0.5)
        running = processes(shared_control_plane, machine)
        assert other in running
        assert stopped not in running
        machine.exec(["pkill", "-f", other])

    @pytest.mark.parametrize("user", [None, "ec2-user"])
    def test_keyboard_interrupt(
        self, shared_control_plane: ControlPlane, cloud: Ec2, machine: Instance, user: str | None
    ) -> None:
        command = long_sleep()

        def interrupt() -> None:
            eventually(lambda: command in processes(shared_control_plane, machine), what="the command runs")
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        try:
            with pytest.raises(KeyboardInterrupt):
                cloud.exec(machine, command, on_stdout=lambda text: None, timeout=60, user=user)
        finally:
            thread.join()
        assert command not in processes(shared_control_plane, machine)
        # And the connection is still good.
        assert machine.exec("echo next").stdout == "next\n"

    def test_interrupted_by_a_callback(self, shared_control_plane: ControlPlane, cloud: Ec2, machine: Instance) -> None:
        command = long_sleep()
        seen = threading.Event()
        asked_in: list[str] = []

        def interrupted() -> bool:
            asked_in.append(threading.current_thread().name)
            return seen.is_set()

        begun = time.monotonic()
        result = cloud.exec(
            machine, f"echo go; {command}", on_stdout=lambda text: seen.set(), interrupted=interrupted, timeout=60
        )
        assert time.monotonic() - begun < 20
        assert not result.ok
        assert result.stdout == "go\n"
        assert threading.main_thread().name not in asked_in
        assert command not in processes(shared_control_plane, machine)

    def test_a_listener_that_fails(self, shared_control_plane: ControlPlane, cloud: Ec2, machine: Instance) -> None:
        command = long_sleep()

        def fail(text: str) -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            cloud.exec(machine, f"echo go; {command}", on_stdout=fail)
        assert command not in processes(shared_control_plane, machine)

    def test_the_instance_stops_meanwhile(self, cloud: Ec2) -> None:
        (instance,) = cloud.run()
        results: list[Any] = []

        def listen(text: str) -> None:
            instance.stop(wait=False)

        results.append(cloud.exec(instance, f"echo go; {long_sleep()}", on_stdout=listen, timeout=60))
        assert not results[0].ok
        instance.wait("stopped")
        instance.terminate()


class TestWhereNoneCanRun:
    def test_stopped(self, cloud: Ec2) -> None:
        (instance,) = cloud.run(name="asleep")
        instance.stop()
        with pytest.raises(OblakoError, match=r"asleep is stopped; start it with %ec2 start asleep"):
            instance.exec("true")
        instance.terminate()
        with pytest.raises(OblakoError, match="terminated"):
            instance.exec("true")

    def test_simulated(self, cloud: Ec2) -> None:
        (instance,) = cloud.run(backed=False)
        with pytest.raises(OblakoError, match="simulated"):
            instance.exec("true")
        instance.terminate()

    def test_nothing_to_run(self, machine: Instance) -> None:
        with pytest.raises(OblakoError, match="no command"):
            machine.exec([])
