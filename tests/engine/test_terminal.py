"""A program on a terminal of its own, on both engines."""

from __future__ import annotations

import threading

import pytest

from oblako_magic.engine import Engine
from oblako_magic.engine.terminal import Terminal, _without
from tests.support.plane import eventually


@pytest.mark.both_engines
def test_it_begins_with_its_size_and_loses_nothing(engine_backend: Engine, running: str) -> None:
    terminal = Terminal(
        engine_backend,
        running,
        ["/bin/sh", "-c", "echo first; stty size; cat; echo $A"],
        env={"A": "ä€"},
        size=(33, 101),
    )
    text = bytearray()

    def read() -> None:
        while data := terminal.read():
            text.extend(data)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        eventually(lambda: bytes(text) == b"first\r\n33 101\r\n", what=f"its first words, not {bytes(text)!r}")
        terminal.write("typed ä\n".encode())
        eventually(lambda: bytes(text).count("typed ä\r\n".encode()) == 2, what="the echo and the answer")
        terminal.write(b"\x04")
        reader.join(20)
        assert not reader.is_alive(), "its end is the end of the output"
        assert bytes(text).endswith("ä€\r\n".encode())
    finally:
        terminal.close()


@pytest.mark.both_engines
def test_closing_ends_a_read(engine_backend: Engine, running: str) -> None:
    terminal = Terminal(engine_backend, running, ["/bin/sleep", "30"])
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(terminal.read()))
    reader.start()
    terminal.close()
    reader.join(10)
    assert got == [b""]
    terminal.close()


@pytest.mark.parametrize(
    ("data", "left"),
    [(b"\r\nx", (b"x", b"")), (b"\r", (b"", b"\n")), (b"\r\n", (b"", b"")), (b"x\r\n", (b"x\r\n", b""))],
)
def test_the_echo_of_the_first_line_is_taken_away(data: bytes, left: tuple[bytes, bytes]) -> None:
    assert _without(data, b"\r\n") == left
