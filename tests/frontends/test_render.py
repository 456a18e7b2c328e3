"""Pictures of results: complete, and safe whatever the names are."""

from __future__ import annotations

from typing import Any

from oblako_magic.frontends import render
from oblako_magic.frontends.progress import MOMENT, Progress
from oblako_magic.handles import InstanceList
from oblako_magic.model import PortMapping
from tests.frontends.fake_ec2 import FakeEc2, make_instance

EVIL = "<script>alert(1)</script>\n\x1b[31m\"'&"


def test_everything_is_escaped() -> None:
    machine = make_instance(
        id="i-1", state="stopped", name=EVIL, image=EVIL, note=EVIL, reason=EVIL, progress=EVIL,
        impairment=EVIL, impaired=True,
        tags={EVIL: EVIL}, key_name=EVIL, security_groups=[EVIL], ports=[PortMapping(80, 81, EVIL)],
        volumes=[{"device": EVIL, "volume_id": EVIL, "size": 8}],
    )  # fmt: skip
    for html in (render.instance_html(machine), render.instances_html([machine]), render.progress_html(EVIL)):
        assert ("<script" not in html and 'rel="noopener' in html) or "oblako-progress" in html
    for text in (render.instance_text(machine), render.instances_text([machine])):
        assert "\x1b" not in text
    # The heading, one row and one remark, whatever is in the names.
    assert len(render.instances_text([machine]).splitlines()) == 3


def test_a_table_uses_the_notebooks_colours_with_a_fallback() -> None:
    html = render.instances_html([make_instance(id="i-1", state="running", name="web", ports=[PortMapping(80, 20000)])])
    assert "var(--jp-success-color1, #388e3c)" in html
    assert 'href="http://127.0.0.1:20000"' in html
    assert "●" in html
    assert "running" in html


def test_marks() -> None:
    assert "simulated" in render.instances_text([make_instance(id="i-1", state="running", backed=False)])
    impaired = make_instance(id="i-1", state="running", impaired=True, impairment="Its container is gone.")
    assert "impaired" in render.instance_text(impaired)
    assert "Its container is gone." in render.instances_text([impaired])
    failed = make_instance(id="i-1", state="running", user_data="failed (exit 3)")
    assert "user data failed (exit 3)" in render.instances_text([failed])
    assert render.instances_text([]) == "no instances"


def test_watched() -> None:
    one = make_instance(id="i-1", state="pending", name="web", progress="pulling debian:12 45%")
    assert render.watched([one]) == "web i-1 pending, pulling debian:12 45%"
    two = make_instance(id="i-2", state="running")
    assert render.watched([one, two]) == "2 instances: 1 pending, 1 running, pulling debian:12 45%"


def test_size() -> None:
    assert [render.size(n) for n in (0, 1023, 2048, 150 * 2**20, 3 * 2**30, 2**50)] == [
        "0 B", "1023 B", "2.0 KiB", "150 MiB", "3.0 GiB", "1024.0 TiB",
    ]  # fmt: skip


class Recorder:
    def __init__(self) -> None:
        self.shown: list[str] = []

    def show(self, text: str) -> None:
        self.shown.append(text)

    def clear(self) -> None:
        self.shown.append("cleared")


def test_progress_is_silent_for_a_moment_and_cleared_after_it() -> None:
    import time

    sink = Recorder()
    with Progress(sink, "launch"):
        pass
    assert sink.shown == []
    with Progress(sink, "launch") as line:
        line.update("launch: pulling")
        time.sleep(MOMENT + 0.3)
    assert sink.shown[0].startswith("launch: pulling (")
    assert sink.shown[-1] == "cleared"


def test_html_of_results_in_a_notebook(cell: Any, cloud: FakeEc2, shell: Any) -> None:
    cloud.add("web", ports=[PortMapping(80, 20000)])
    for line in ("ls", "show web", "stats", "ports", "images", "status", "doctor", ""):
        value = cell(f"%ec2 {line}").value
        data, _ = shell.display_formatter.format(value)
        assert data["text/plain"], line
        assert data["text/html"].startswith("<"), line
    data, _ = shell.display_formatter.format(InstanceList())
    assert data["text/plain"] == "no instances"
