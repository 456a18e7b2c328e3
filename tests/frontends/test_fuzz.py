"""Whatever stands on the line: a value or one line of error, never a traceback."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from IPython.core.error import UsageError
from IPython.utils.capture import capture_output

from oblako_magic.errors import OblakoError
from oblako_magic.frontends.completion import complete
from oblako_magic.frontends.failures import InternalError
from oblako_magic.frontends.registry import commands
from tests.frontends.fake_ec2 import FakeEc2

FLAGS = sorted({flag for command in commands().values() for option in command.all_options for flag in option.flags})
PIECES = st.one_of(
    st.sampled_from(
        [
            *commands(),
            *FLAGS,
            "web",
            "db-*",
            "@last",
            "i-0",
            "--",
            "-",
            "a=b",
            "tag:K=V",
            "8080:80",
            "1",
            "-1",
            "",
            ";",
            "%ec2",
        ]
    ),
    st.sampled_from(
        [
            "{x}",
            "{names}",
            "$x",
            "${x}",
            "{{x}}",
            "$$x",
            "{x",
            "x}",
            "{x!z}",
            "{x:>10}",
            "{x[0]}",
            "{1/0}",
            "{x.y}",
            "'",
            '"',
            "\\",
        ]
    ),
    st.text(max_size=12),
)
LINES = st.one_of(
    st.lists(PIECES, max_size=8).map(" ".join), st.lists(PIECES, max_size=6).map("".join), st.text(max_size=60)
)


@pytest.fixture(autouse=True)
def machines(cloud: FakeEc2, shell: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cloud.add("web")
    cloud.add("db-1")
    shell.user_ns.update(x="value", names=["web", "db-1"])


@given(line=LINES, body=st.one_of(st.none(), st.text(min_size=1, max_size=30)))
@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(line="exec web 'a", body=None)
@example(line="exec web -- ", body=None)
@example(line="run -o", body=None)
@example(line="{names[9]}", body=None)
@example(line="run --name {" + "[" * 300, body=None)
@example(line="run --tag =", body="x")
@example(line="--debug", body=None)
def test_no_line_gives_a_traceback(shell: Any, line: str, body: str | None) -> None:
    with capture_output() as said:
        error = failure(shell, line, body)
    assert "Traceback" not in said.stdout + said.stderr
    assert not isinstance(error, InternalError), str(error)
    if isinstance(error, UsageError):
        assert type(error) is UsageError
        assert len(str(error).splitlines()) == 1
        assert len(str(error)) < 1000
    elif error is not None and "--debug" not in line:
        render: Any = error
        assert len(render._render_traceback_()) == 1


def failure(shell: Any, line: str, body: str | None) -> UsageError | OblakoError | None:
    """The one error that the line may raise; any other fails the test."""
    try:
        if body is None:
            shell.run_line_magic("ec2", line)
        else:
            shell.run_cell_magic("ec2", line, body)
    except (UsageError, OblakoError) as error:
        return error
    return None


@given(words=st.lists(PIECES, max_size=6), fragment=PIECES)
@settings(max_examples=300, deadline=None)
def test_completion_never_fails(words: list[str], fragment: str) -> None:
    for text in complete(words, fragment, lambda: [("i-1", "web"), ("i-2", "")]):
        assert text.startswith(fragment)
