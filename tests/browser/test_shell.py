"""``%ec2 shell`` in JupyterLab: a terminal that one can work in."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from oblako_magic import Ec2
from tests.browser.lab import BUSY, Notebook, chromium, jupyter_lab, write_notebook
from tests.support.plane import ControlPlane, eventually

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CELLS = (
    "%load_ext oblako_magic",
    "web = %ec2 run --name box",
    "%ec2 shell box",
    "%ec2 shell box",
    BUSY,
    "%ec2 stop box",
)
_TEXT = """(number) => {
  const buffer = document.querySelectorAll(".oblako-shell")[number]?.obShell?.buffer.active;
  if (!buffer) return "";
  return Array.from({ length: buffer.length }, (_, at) => buffer.getLine(at).translateToString(true)).join("\\n");
}"""


_NO_SUBSHELLS = """() => {
  const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
  const comms = [...kernel._comms.values()];
  comms.forEach(comm => { comm._subshellId = null; comm._subshellIdPromise = Promise.resolve(null); });
  return comms.length;
}"""


class Terminal:
    """One of the terminals on the page, the first is 0."""

    def __init__(self, page: Any, number: int) -> None:
        self.page, self.number = page, number
        self.root = page.locator(".oblako-shell").nth(number)
        self.root.wait_for(timeout=30_000)

    def text(self) -> str:
        return str(self.page.evaluate(_TEXT, self.number))

    def until(self, text: str, timeout: float = 20) -> None:
        eventually(
            lambda: text in self.text(), timeout=timeout, what=f"{text!r} in the terminal:\n{self.text()[-500:]}"
        )

    def type(self, text: str) -> None:
        self.root.locator("textarea").focus()
        self.page.keyboard.type(text)

    def press(self, key: str) -> None:
        self.root.locator("textarea").focus()
        self.page.keyboard.press(key)

    def run(self, command: str) -> None:
        self.type(command)
        self.press("Enter")

    def said(self) -> str:
        return str(self.root.locator(".ob-shell-said").inner_text())

    def size(self) -> str:
        return str(self.root.evaluate("node => `${node.obShell.rows} ${node.obShell.cols}`"))


@pytest.fixture(scope="module")
def notebook(shared_control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    """The notebook, opened in Chromium, with an instance and two shells on it."""
    folder = tmp_path_factory.mktemp("lab")
    write_notebook(folder / "shell.ipynb", CELLS)
    with jupyter_lab(folder) as url, chromium() as browser:
        context = browser.new_context(viewport={"width": 1300, "height": 1400})
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        opened = Notebook(context.new_page(), url.format("shell"))
        for cell in range(4):
            opened.run(cell)
        yield opened


def test_a_command_its_output_and_the_size(notebook: Notebook) -> None:
    shell = Terminal(notebook.page, 0)
    shell.until("#")
    shell.run("stty size; echo ä€😀漢; echo $((6 * 7))")
    shell.until("ä€😀漢")
    shell.until("\n42")
    shell.until(shell.size())
    before = shell.size()
    frame = shell.root.locator(".ob-shell-frame")
    frame.evaluate("node => { node.style.height = '200px'; node.style.width = '60%'; }")
    eventually(lambda: shell.size() != before, what="the terminal follows its frame")
    shell.run("stty size")
    shell.until(f"\n{shell.size()}")
    frame.evaluate("node => { node.style.height = '400px'; node.style.width = ''; }")


_PAGE = """() => {
  const probe = document.createElement("i");
  probe.style.color = "var(--jp-layout-color0)";
  document.body.append(probe);
  return getComputedStyle(probe).color;
}"""


@pytest.mark.parametrize("theme", ["Dark", "Light"])
def test_its_colours_are_the_page_s(notebook: Notebook, theme: str) -> None:
    shell = Terminal(notebook.page, 0)
    before = notebook.page.evaluate(_PAGE)
    assert shell.root.evaluate("node => node.obShell.options.theme.background") == before
    notebook.theme(theme)
    eventually(lambda: notebook.page.evaluate(_PAGE) != before, what=f"the page has {theme}")
    mine = "node => node.obShell.options.theme.background"
    eventually(lambda: shell.root.evaluate(mine) == notebook.page.evaluate(_PAGE), what="the terminal follows")
    drawn = "node => getComputedStyle(node.querySelector('.xterm-scrollable-element')).backgroundColor"
    assert shell.root.evaluate(drawn) == notebook.page.evaluate(_PAGE)


def test_ctrl_c_and_a_paste(notebook: Notebook) -> None:
    shell = Terminal(notebook.page, 0)
    shell.run("echo now; sleep 98765")
    shell.until("\nnow")
    time.sleep(0.5)  # until the command has the terminal: at its prompt the shell reads Ctrl-C as a letter
    shell.press("Control+c")
    shell.run("echo after-$((1 + 1))")
    shell.until("after-2")
    # Lines of no more than busybox's shell can edit.
    pasted = "\n".join(["cat > /pasted << END", *(f"{n} " + "ä" * 400 for n in range(60)), "END", "wc -m < /pasted"])
    notebook.page.evaluate("text => navigator.clipboard.writeText(text)", pasted)
    shell.press("Control+v")
    shell.press("Enter")
    shell.until(f"\n{sum(len(f'{n} ') + 401 for n in range(60))}")


def test_a_second_one_is_another(notebook: Notebook) -> None:
    one, two = Terminal(notebook.page, 0), Terminal(notebook.page, 1)
    two.until("#")
    two.run("tty; one=two; echo I-am-$one")
    two.until("I-am-two")
    one.run("echo I-am-[$one]")
    one.until("I-am-[]")


def test_a_flood_leaves_the_page_alive(notebook: Notebook) -> None:
    """Three megabytes: the page answers all the time, and Ctrl-C ends what has no end."""
    shell = Terminal(notebook.page, 1)
    shell.run("yes 0123456789012345678901234567890123456789 | head -c 3000000; echo all-$((2 + 2))")
    slowest = 0.0

    def over() -> bool:
        nonlocal slowest
        begun = float(notebook.page.evaluate("() => performance.now()"))
        text = shell.text()[-200:]
        frame = "() => new Promise(done => requestAnimationFrame(() => done(performance.now())))"
        slowest = max(slowest, float(notebook.page.evaluate(frame)) - begun)
        return "all-4" in text

    eventually(over, timeout=90, what="three megabytes are shown")
    assert slowest < 2000, "milliseconds until the page draws again"
    shell.run("yes")
    eventually(lambda: shell.text().rstrip().endswith("y\ny"), what="it goes on and on")
    shell.press("Control+c")
    shell.run("echo quiet-$((3 + 3))")
    shell.until("quiet-6", 30)


def test_a_busy_kernel_takes_what_is_typed(notebook: Notebook) -> None:
    """Comms have a thread of their own (a subshell) with ipykernel 7 and JupyterLab 4.4 and newer."""
    shell = Terminal(notebook.page, 1)
    with notebook.busy(4):
        shell.run("echo typed-$((4 + 4))")
        shell.until("typed-8")
        assert shell.said() == ""


def test_a_kernel_that_does_not_hear_while_it_is_busy(notebook: Notebook) -> None:
    """Older kernels and front ends: output goes on, it is said that typing waits, and nothing typed is lost."""
    shell = Terminal(notebook.page, 0)
    shell.run("(while :; do echo tick-$((n += 1)); sleep 1; done) &")
    shell.until("tick-1")
    assert notebook.page.evaluate(_NO_SUBSHELLS)
    with notebook.busy(4):
        shell.run("echo late-$((5 + 5))")
        eventually(lambda: "The kernel is busy: what you type waits" in shell.said(), what="it is said")
        number = max(map(int, re.findall(r"tick-(\d+)", shell.text())))
        shell.until(f"tick-{number + 2}")
        assert "late-10" not in shell.text()
    shell.until("late-10", 30)
    eventually(lambda: shell.said() == "", what="nothing waits any more")
    shell.run("kill $!")


def test_a_reload_brings_it_back(notebook: Notebook) -> None:
    shell = Terminal(notebook.page, 0)
    shell.run("echo before-the-$((9 + 9))")
    shell.until("before-the-18")
    notebook.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    notebook.page.reload()
    notebook.wait()
    again = Terminal(notebook.page, 0)
    again.until("before-the-18", 40)
    again.run("echo after-the-$((9 + 8))")
    again.until("after-the-17")


def test_the_stop_of_the_instance_ends_it(notebook: Notebook, shared_control_plane: ControlPlane) -> None:
    shell = Terminal(notebook.page, 0)
    notebook.run(5)
    eventually(lambda: "was stopped; the shell has ended" in shell.said(), what="it says so")
    button = shell.root.get_by_role("button", name="Open again")
    button.click()
    eventually(lambda: "is stopped; start it with" in shell.said(), what="another one can't be had")
    assert notebook.errors == []
    stops = [event for event in Ec2(shared_control_plane.settings).events() if event.what == "running -> stopping"]
    assert [event.who.rstrip("0123456789") for event in stops] == ["%ec2 in notebook kernel "]
