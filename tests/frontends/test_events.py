"""``%ec2 events``: what changed and who did it."""

from __future__ import annotations

import json
from typing import Any

from oblako_magic.events import Event
from tests.frontends.fake_ec2 import FakeEc2, event


def test_shows_all_as_a_table_and_escapes_what_clients_wrote(cell: Any, cloud: FakeEc2) -> None:
    cloud.happened = [event(1, what="tag <b>=1", who="<script>"), event(2, id="i-0def", name="db")]
    done = cell("%ec2 events")
    assert [one.number for one in done.value] == [1, 2]
    table = done.value._repr_html_()
    assert "<script>" not in table
    assert "&lt;script&gt;" in table
    assert "i-0def" in done.value.as_text()


def test_one_target_and_the_last_few(cell: Any, cloud: FakeEc2) -> None:
    cloud.happened = [event(n, name="web" if n % 2 else "db") for n in range(1, 7)]
    assert [one.number for one in cell("%ec2 events db").value] == [2, 4, 6]
    assert [one.number for one in cell("%ec2 events --tail 1 d*").value] == [6]
    assert cell("%ec2 events --tail 0").value == []
    assert "no event is about nobody" in cell("%ec2 events nobody").value.as_text()
    cloud.happened = []
    assert cell("%ec2 events nobody").value.as_text() == "no events yet"


def test_follow_shows_what_comes_until_it_is_interrupted(cell: Any, cloud: FakeEc2) -> None:
    cloud.happened = [event(1), event(2, what="launched (t3.micro)")]
    done = cell("%ec2 events --follow --tail 1")
    assert done.error is None
    first, second = done.stdout.splitlines()
    assert first.endswith("i-0abc web: launched (t3.micro) (aws-cli)")
    assert second.endswith("i-0abc web: running -> stopping (aws-cli)")
    assert cloud.calls[-1] == ("events", (2, "run", True))


def test_follow_as_json_is_a_line_for_each(cell: Any, cloud: FakeEc2) -> None:
    line = json.loads(cell("%ec2 events -f --json").stdout)
    assert line["what"] == "running -> stopping"
    assert line["time"].startswith("2026-01-02T03:04:01")


def test_an_event_says_whom_it_concerns() -> None:
    one: Event = event(1)
    assert all(map(one.concerns, ("web", "i-0abc", "i-0a", "0a", "w*", "instance")))
    assert not any(map(one.concerns, ("we", "db", "x*", "")))
