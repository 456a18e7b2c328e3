"""Tab, through the shell's own completer."""

from __future__ import annotations

from typing import Any

import pytest
from IPython.core.completer import provisionalcompleter

from tests.frontends.fake_ec2 import FakeEc2


@pytest.fixture
def tab(shell: Any) -> Any:
    def complete(text: str) -> list[str]:
        """The texts that the line may become."""
        with provisionalcompleter():
            return [text[: c.start] + c.text + text[c.end :] for c in shell.Completer.completions(text, len(text))]

    return complete


def test_subcommands(tab: Any) -> None:
    assert tab("%ec2 st") == ["%ec2 stack", "%ec2 start", "%ec2 stats", "%ec2 status", "%ec2 stop"]
    assert "%ec2 run" in tab("%ec2 ")
    assert tab("%%ec2 ru") == ["%%ec2 run"]
    assert tab("x = %ec2 termi") == ["x = %ec2 terminate"]


def test_options(tab: Any) -> None:
    assert tab("%ec2 run --ima") == ["%ec2 run --image"]
    assert "%ec2 run --no-container" in tab("%ec2 run --no-")
    assert "%ec2 run --count 3 --count" not in tab("%ec2 run --count 3 --co")
    assert tab("%ec2 run --count 3 --publish 1 --pub") == ["%ec2 run --count 3 --publish 1 --publish"]


def test_instances_by_name_and_id(tab: Any, cloud: FakeEc2) -> None:
    web = cloud.add("web-1")
    cloud.add("db")
    assert tab("%ec2 stop we") == ["%ec2 stop web-1"]
    assert tab("%ec2 stop web-") == ["%ec2 stop web-1"]
    assert tab(f"%ec2 stop {web.id[:5]}") == [f"%ec2 stop {web.id}"]
    assert set(tab("%ec2 stop db ")) == {
        f"%ec2 stop db {end}" for end in ("web-1", "db", *(m.id for m in cloud.machines), "@last")
    }
    assert tab("%ec2 exec --user root d") == ["%ec2 exec --user root db"]
    assert tab("%ec2 cp a w") == ["%ec2 cp a web-1:"]
    assert tab("%ec2 show @") == ["%ec2 show @last"]


def test_a_fresh_kernel_knows_what_was_there_before(tab: Any, shell: Any) -> None:
    shell._oblako_magic._starter.join(5)
    assert tab("%ec2 stop fro") == ["%ec2 stop from-before"]
    assert tab("%ec2 notebook open la") == ["%ec2 notebook open lab-from-before"]


def test_values_of_options(tab: Any) -> None:
    assert tab("%ec2 run --image deb") == ["%ec2 run --image debian:12", "%ec2 run --image debian:13"]
    assert tab("%ec2 wait --state r") == ["%ec2 wait --state running"]
    assert tab("%ec2 env o") == ["%ec2 env off", "%ec2 env on"]
    assert "%ec2 ls --filter tag:" in tab("%ec2 ls --filter t")


def test_not_its_line(tab: Any, cloud: FakeEc2) -> None:
    cloud.add("web")
    assert not [text for text in tab("%%ec2 exec web\nec2 we") if text.endswith("web")]
    assert "print" in [text.rstrip("(=") for text in tab("pri")]


def test_never_the_network(tab: Any, cloud: FakeEc2) -> None:
    cloud.add("web")
    tab("%ec2 stop ")
    assert cloud.calls == []
