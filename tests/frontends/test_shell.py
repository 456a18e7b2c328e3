"""The shell's widget without a browser: what is sent, when, and how much of it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest

from oblako_magic.errors import OblakoError
from oblako_magic.frontends.shell import bundle, flow
from oblako_magic.frontends.shell.widget import ShellView
from tests.frontends.fake_ec2 import make_instance
from tests.support.plane import eventually


class FakeShell:
    """A shell whose output the test writes."""

    def __init__(self) -> None:
        self.instance = make_instance(id="i-0abc", name="box", state="running")
        self.output: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.typed = b""
        self.sizes: list[tuple[int, int]] = []
        self.closed = False

    def read(self) -> bytes:
        return self.output.get()

    def write(self, data: bytes) -> None:
        self.typed += data

    def resize(self, rows: int, columns: int) -> None:
        self.sizes.append((rows, columns))

    def ending(self) -> str:
        return "box was stopped; the shell has ended."

    def close(self) -> None:
        self.closed = True
        self.output.put(b"")


class FakeCloud:
    """As much of ``Ec2`` as the widget calls."""

    def __init__(self) -> None:
        self.shells: list[FakeShell] = []
        self.fail: OblakoError | None = None

    def open_shell(self, instance: Any, *, user: str, size: tuple[int, int]) -> FakeShell:
        if self.fail:
            raise self.fail
        self.shells.append(FakeShell())
        return self.shells[-1]

    def refresh(self, instances: list[Any]) -> list[Any]:
        return instances


class Shown:
    """A widget, what it sent, and a browser's words to it."""

    def __init__(self) -> None:
        self.cloud = FakeCloud()
        self.view = ShellView(cast(Any, self.cloud), make_instance(id="i-0abc", name="box", state="running"))
        self.sent: list[tuple[dict[str, Any], bytes]] = []
        self.view.send = lambda content, buffers=None: self.sent.append((content, b"".join(buffers or [])))

    @property
    def shell(self) -> FakeShell:
        return self.cloud.shells[-1]

    def say(self, **content: Any) -> None:
        self.view._heard(None, {"view": "v", "n": 1, **content}, [])

    def kinds(self, kind: str) -> list[tuple[dict[str, Any], bytes]]:
        return [one for one in self.sent if one[0]["kind"] == kind]


@pytest.fixture
def shown() -> Iterator[Shown]:
    made = Shown()
    yield made
    made.view.close()


def test_what_is_typed_arrives_in_order_and_is_confirmed(shown: Shown) -> None:
    shown.say(kind="size", rows=30, columns=100)
    shown.say(kind="in", text="ls ä€😀\r", n=2)
    shown.say(kind="bytes", codes=[27, 91, 65], n=3)
    eventually(lambda: shown.shell.typed == "ls ä€😀\r".encode() + b"\x1b[A")
    assert shown.shell.sizes == [(30, 100)]
    assert [content["n"] for content, _ in shown.kinds("heard")] == [1, 2, 3]


def test_a_view_that_comes_later_gets_what_was(shown: Shown) -> None:
    shown.shell.output.put(b"one\r\n")
    eventually(lambda: shown.kinds("out"))
    shown.say(kind="hello")
    eventually(lambda: any(data == b"one\r\n" for _, data in shown.kinds("replay")))


def test_its_end_is_a_sentence_and_another_one_can_be_opened(shown: Shown) -> None:
    first = shown.shell
    first.output.put(b"")
    eventually(lambda: shown.view.ending == "box was stopped; the shell has ended.")
    assert first.closed
    shown.cloud.fail = OblakoError("box is stopped; start it with %ec2 start box.")
    shown.say(kind="again", rows=20, columns=70)
    eventually(lambda: shown.view.ending == "Box is stopped; start it with %ec2 start box.")
    shown.cloud.fail = None
    shown.say(kind="again", rows=20, columns=70)
    eventually(lambda: shown.view.ending == "")
    assert shown.shell is not first
    shown.say(kind="in", text="x")
    eventually(lambda: shown.shell.typed == b"x")


def test_close_hangs_up_and_ends_its_threads(shown: Shown) -> None:
    shown.view.close()
    shown.view.close()
    assert shown.shell.closed
    assert shown.view.ending == "The shell was closed."
    eventually(lambda: not [one for one in threading.enumerate() if one.name.startswith("oblako-shell-")])


def test_a_saved_notebook_has_a_sentence_and_no_output(shown: Shown) -> None:
    shown.shell.output.put(b"secret\r\n")
    eventually(lambda: shown.kinds("out"))
    data = shown.view._repr_mimebundle_()[0]
    assert data["text/plain"] == "a shell on i-0abc box; it is there only while its kernel runs"
    assert "secret" not in repr({key: shown.view.get_state(key) for key in ("title", "ending", "again")}) + repr(data)


def test_output_waits_for_the_browser_and_then_goes_on_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser that answers sets the pace; one whose answers wait for a busy kernel gets a little at a time."""
    monkeypatch.setattr(flow, "PATIENCE", 0.3)
    sent: list[int] = []
    stream = flow.Flow(lambda start, data: sent.append(len(data)))

    def feed() -> None:
        for _ in range(40):
            stream.take(b"x" * 65536)

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    eventually(lambda: sum(sent) >= flow.WINDOW, what="the window is filled")
    assert sum(sent) <= flow.WINDOW + 2 * flow.PIECE
    assert feeder.is_alive(), "who writes more than that waits"
    eventually(lambda: sum(sent) >= flow.WINDOW + 2 * flow.PIECE, what="it goes on without an answer")
    while feeder.is_alive():
        stream.seen(sum(sent))
    stream.drain()
    stream.seen(sum(sent))
    eventually(lambda: sum(sent) == 40 * 65536)
    start, past = stream.past()
    assert start + len(past) == 40 * 65536
    stream.close()


def test_the_module_is_whole_and_asks_nobody_for_anything() -> None:
    text = bundle.script()
    assert text.count("export ") == 1
    assert text.rstrip().endswith("export default { render };")
    for sign in ("import(", "fetch(", "sourceMappingURL", "cdn."):
        assert sign not in text
