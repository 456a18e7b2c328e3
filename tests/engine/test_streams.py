"""Commands, output and files of an instance, on both engines."""

from __future__ import annotations

import io
import tarfile

import pytest

from oblako_magic.engine import Engine, containers, streams
from oblako_magic.errors import EngineError, NotFound
from tests.support.plane import eventually

pytestmark = pytest.mark.both_engines


def test_a_command_has_its_streams_apart_and_its_exit_code(engine_backend: Engine, running: str) -> None:
    argv = ["sh", "-c", "echo out; echo err >&2; exit 7"]
    exec_id = streams.exec_create(engine_backend, running, argv)
    pieces = list(streams.exec_output(engine_backend, exec_id))
    assert b"".join(out for out, _ in pieces) == b"out\n"
    assert b"".join(err for _, err in pieces) == b"err\n"
    code, text = streams.run(engine_backend, running, argv)
    assert (code, sorted(text.split())) == (7, ["err", "out"])  # between two pipes there is no order


def test_a_command_that_runs_has_no_exit_code_yet(engine_backend: Engine, running: str) -> None:
    argv = ["sh", "-c", "echo begun; while [ ! -e /go ]; do sleep 0.05; done; exit 3"]
    exec_id = streams.exec_create(engine_backend, running, argv)
    output = streams.exec_output(engine_backend, exec_id)
    assert next(output)[0] == b"begun\n"
    assert streams.exec_exit_code(engine_backend, exec_id) is None
    assert streams.run(engine_backend, running, ["touch", "/go"]) == (0, "")
    assert list(output) == []
    assert eventually(lambda: streams.exec_exit_code(engine_backend, exec_id)) == 3


def test_a_command_that_nobody_listens_to_runs(engine_backend: Engine, running: str) -> None:
    streams.exec_detached(engine_backend, running, ["sh", "-c", "id -u > /ran"])
    eventually(lambda: streams.read_file(engine_backend, running, "/ran") == b"0\n")


def test_user_environment_and_folder_are_what_was_asked_for(engine_backend: Engine, running: str) -> None:
    exec_id = streams.exec_create(
        engine_backend,
        running,
        ["sh", "-c", 'id -un; echo "$WHAT"; pwd'],
        user="ec2-user",
        env={"WHAT": "a b"},
        workdir="/tmp",
    )
    assert b"".join(out for out, _ in streams.exec_output(engine_backend, exec_id)) == b"ec2-user\na b\n/tmp\n"


def test_a_command_that_is_not_there_does_not_exit_with_0(engine_backend: Engine, running: str) -> None:
    try:
        code, text = streams.run(engine_backend, running, ["no-such-command"])
    except EngineError as error:
        code, text = 127, str(error)
    assert code in (126, 127)
    assert "no-such-command" in text


def test_output_comes_while_it_is_written(engine_backend: Engine, running: str) -> None:
    exec_id = streams.exec_create(
        engine_backend, running, ["sh", "-c", "echo one; while [ ! -e /go ]; do sleep 0.05; done; echo two"]
    )
    output = streams.exec_output(engine_backend, exec_id)
    assert next(output)[0] == b"one\n"
    streams.run(engine_backend, running, ["touch", "/go"])
    assert b"".join(out for out, _ in output) == b"two\n"


def test_files_go_in_with_their_modes_and_come_out_the_same(engine_backend: Engine, running: str) -> None:
    content = bytes(range(256)) * 5000
    streams.put_files(
        engine_backend, running, [("/new/folder/data", content, 0o640), ("new/run", b"#!/bin/sh\necho ran\n", 0o755)]
    )
    assert streams.read_file(engine_backend, running, "/new/folder/data") == content
    assert streams.run(engine_backend, running, ["/new/run"]) == (0, "ran\n")
    assert streams.run(engine_backend, running, ["stat", "-c", "%a %u", "/new/folder/data"]) == (0, "640 0\n")
    # Also while it is stopped.
    containers.stop(engine_backend, running)
    streams.put_files(engine_backend, running, [("new/later", b"later", 0o600)])
    assert streams.read_file(engine_backend, running, "/new/later") == b"later"


def test_a_folder_comes_out_as_an_archive(engine_backend: Engine, running: str) -> None:
    streams.put_files(engine_backend, running, [("tree/a", b"1", 0o644), ("tree/sub/b", b"2", 0o644)])
    data = b"".join(streams.get_archive(engine_backend, running, "/tree"))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        files = {member.name.rstrip("/"): member.isfile() for member in archive}
    assert files == {"tree": False, "tree/a": True, "tree/sub": False, "tree/sub/b": True}


def test_what_is_not_there_reads_as_none(engine_backend: Engine, running: str) -> None:
    assert streams.read_file(engine_backend, running, "/no/such/file") is None
    assert streams.read_file(engine_backend, running, "/etc") is None
    assert streams.read_file(engine_backend, "i-nothing", "/etc/passwd") is None
    with pytest.raises(NotFound):
        list(streams.get_archive(engine_backend, running, "/no/such/file"))


def test_folders_are_told_from_files(engine_backend: Engine, running: str) -> None:
    assert streams.is_folder(engine_backend, running, "/etc")
    assert not streams.is_folder(engine_backend, running, "/etc/passwd")
    assert not streams.is_folder(engine_backend, running, "/no/such/file")


def test_the_output_of_process_1_is_the_log(engine_backend: Engine, running: str) -> None:
    for number in range(3):
        streams.run(engine_backend, running, ["sh", "-c", f"echo line {number} > /proc/1/fd/1"])
    assert streams.logs(engine_backend, running).splitlines() == [b"line 0", b"line 1", b"line 2"]
    assert streams.logs(engine_backend, running, tail=1).splitlines() == [b"line 2"]
    followed = streams.follow_logs(engine_backend, running, tail=1)
    assert next(followed).strip() == b"line 2"
    streams.run(engine_backend, running, ["sh", "-c", "echo line 3 > /proc/1/fd/1"])
    assert next(followed).strip() == b"line 3"
    containers.stop(engine_backend, running)
    assert list(followed) == []


def test_stats_have_the_memory_of_the_instance(engine_backend: Engine, running: str) -> None:
    assert streams.stats(engine_backend, running)["memory_stats"]["usage"] > 0
