"""The images that are built here."""

from __future__ import annotations

from typing import Any

import pytest

from oblako_magic.engine import Engine, build
from oblako_magic.errors import ImageError
from tests.support.sweep import RUN


def _run(engine: Engine, image: str, run_label: str, *argv: str) -> tuple[int, str]:
    api = engine.api
    made = api.create_container(image, list(argv), labels={RUN: run_label})
    try:
        api.start(made["Id"])
        code = api.wait(made["Id"])["StatusCode"]
        return int(code), api.logs(made["Id"]).decode()
    finally:
        api.remove_container(made["Id"], force=True)


@pytest.mark.both_engines
def test_tiny_image_runs_a_shell_as_root_and_as_ec2_user(engine_backend: Engine, run_label: str) -> None:
    script = "id -u; adduser -D x 2>/dev/null; su ec2-user -c 'id -u; cd; pwd'; ls -d /var/log /usr/local/sbin"
    code, output = _run(engine_backend, build.TINY_IMAGE, run_label, "sh", "-c", script)
    assert (code, output.split()) == (0, ["0", "1000", "/home/ec2-user", "/usr/local/sbin", "/var/log"])


@pytest.mark.both_engines
def test_an_image_that_exists_is_not_built_again(engine_backend: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr(build, "_import", refuse)
    assert build.build_tiny(engine_backend.api) == build.TINY_IMAGE


@pytest.mark.slow
def test_base_image_is_of_use_as_an_ec2_machine(base_image: str, engine_backend: Engine, run_label: str) -> None:
    script = "sudo -nu ec2-user sudo -n id -u && python3 -c 'import json, ssl; print(42)' && command -v curl ssh ip ps"
    code, output = _run(engine_backend, base_image, run_label, "bash", "-c", script)
    assert code == 0, output
    assert output.split()[:2] == ["0", "42"]


def test_a_missing_tool_is_one_sentence_with_the_next_step(
    engine_backend: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ImageError, match=r"^building an image needs mmdebstrap; install it with: [^\n]*$"):
        build.build_base(engine_backend.api, name="oblako/never:latest")


def test_a_failing_build_says_what_failed(
    engine_backend: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    tool = tmp_path / "mmdebstrap"
    tool.write_text("#!/bin/sh\necho 'I: running apt-get update...' >&2\necho 'E: no such suite' >&2\nexit 25\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    lines: list[str] = []
    with pytest.raises(ImageError, match=r"mmdebstrap ended with 25 \(no such suite\)"):
        build.build_base(engine_backend.api, lines.append, "oblako/never:latest")
    assert lines[-1] == "running apt-get update"
