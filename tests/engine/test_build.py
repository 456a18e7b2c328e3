"""The images that are built here."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import docker.errors
import pytest

from oblako_magic import __version__, names
from oblako_magic.engine import Engine, build, package, rootfs, tiny
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

    monkeypatch.setattr(tiny, "import_image", refuse)
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


def test_an_image_that_was_replaced_goes_unless_it_has_another_name(engine_backend: Engine) -> None:
    api, name, other = engine_backend.api, "oblako/replaced:test", "oblako/replaced:kept"

    def make(text: str) -> str:
        rootfs.import_image(api, _tar(text), name, [])
        return str(api.inspect_image(name)["Id"])

    first = make("1")
    try:
        second = make("2")
        api.tag(second, *other.split(":"))
        third = make("3")
        assert len({first, second, third}) == 3
        assert {first, second, third} & {image["Id"] for image in api.images(all=True)} == {second, third}
        assert api.inspect_image(other)["Id"] == second
    finally:
        for left in (name, other):
            with contextlib.suppress(docker.errors.ImageNotFound):
                api.remove_image(left)


def test_the_notebook_image_is_built_again_by_another_version_alone(
    engine_backend: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, lines = "oblako/notebook-versions:test", list[str]()

    def make(*changes: str) -> None:
        rootfs.import_image(engine_backend.api, _tar(str(changes)), name, list(changes))

    def built() -> bool:
        lines.clear()
        with contextlib.suppress(ImageError):
            build.build_notebook(engine_backend.api, lines.append, name)
            return False
        return True

    monkeypatch.setattr(build, "can_build", lambda: False)  # it would begin now
    here = f"{name} is here already"
    version = f"LABEL {names.LABEL_VERSION}="
    try:
        make(f"{version}{__version__}", f"LABEL {names.LABEL_SOURCE}={package.digest()}")
        assert (built(), lines) == (False, [here])
        make(f"{version}{__version__}", f"LABEL {names.LABEL_SOURCE}=other")
        assert (built(), lines) == (False, [f"{here}, from other files of this version; --force builds it again"])
        make(f"{version}0.0.1")
        assert (built(), lines) == (True, [f"{name} was built by version 0.0.1; it is built again"])
    finally:
        engine_backend.api.remove_image(name)


def _tar(text: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        item = tarfile.TarInfo("file")
        item.size = len(text)
        archive.addfile(item, io.BytesIO(text.encode()))
    return buffer.getvalue()


@pytest.fixture
def no_pip_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home without pip's and curl's configuration, and pip's environment empty."""
    for name in [key for key in os.environ if key.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_DIRS", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / ".config"))
    return tmp_path


def test_pip_of_the_build_is_led_as_pip_of_the_user(no_pip_files: Path) -> None:
    (no_pip_files / ".config/pip").mkdir(parents=True)
    (no_pip_files / ".config/pip/pip.conf").write_text(
        "[global]\nindex-url = https://me:s3cret@pypi.example/simple\nextra_index_url =\n  https://a.example/simple\n"
        "  file:///srv/pypi\ntarget = /elsewhere\ntimeout = 5\n[install]\nuser = true\n"
    )
    (no_pip_files / ".netrc").write_text("machine pypi.example login me password s3cret\n")
    given = {
        "PIP_TIMEOUT": "99",
        "PIP_USER": "1",
        "HTTPS_PROXY": "http://proxy:3128",
        "PYTHONPATH": "/x",
        "SSL_CERT_DIR": "/y",
    }
    found, local = package.build_environment(given)
    assert found == {
        "HTTPS_PROXY": "http://proxy:3128",
        "PIP_INDEX_URL": "https://me:s3cret@pypi.example/simple",
        "PIP_EXTRA_INDEX_URL": "https://a.example/simple",
        "PIP_TIMEOUT": "99",
        "PIP_CERT": package.CERTIFICATES,
        "SSL_CERT_FILE": package.CERTIFICATES,
        "REQUESTS_CA_BUNDLE": package.CERTIFICATES,
        "CURL_CA_BUNDLE": package.CERTIFICATES,
        "OBLAKO_BUILD_NETRC": "machine pypi.example login me password s3cret\n",
    }
    assert local == ["file:///srv/pypi"]


def test_the_wheel_is_this_package_without_the_control_planes_needs(tmp_path: Path) -> None:
    wheel = package.write_wheel(tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        members = archive.namelist()
        source = archive.read("oblako_magic/engine/package.py")
        about = archive.read(f"oblako_magic-{__version__}.dist-info/METADATA").decode()
    assert source == Path(package.__file__).read_bytes()
    assert not [name for name in members if "__pycache__" in name]
    needs = [line.partition(": ")[2] for line in about.splitlines() if line.startswith("Requires-Dist: ")]
    assert [need for need in needs if need.startswith("boto3")]
    assert not [need for need in needs if need.startswith(("moto", "cheroot")) or "extra" in need]
    folder = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    argv = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile", str(wheel)]
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run(argv, check=True, env=environ, cwd=tmp_path)
    code = "import oblako_magic; print(oblako_magic.__version__, oblako_magic.__file__)"
    said = subprocess.run(
        [str(python), "-c", code], check=True, env=environ, cwd=tmp_path, capture_output=True, text=True
    )
    assert said.stdout.split()[0] == __version__
    assert str(folder) in said.stdout


def test_a_password_in_a_url_is_never_said(
    engine_backend: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, no_pip_files: Path
) -> None:
    tool = tmp_path / "mmdebstrap"
    tool.write_text(
        '#!/bin/sh\necho "I: installing from $PIP_INDEX_URL" >&2\n'
        'echo "ERROR: nothing at $PIP_INDEX_URL by $https_proxy" >&2\necho "E: hook failed" >&2\nexit 25\n'
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("PIP_INDEX_URL", "https://me:s3cret@x@pypi.example/simple")
    monkeypatch.setenv("https_proxy", "http://me:s3cret@proxy:3128")
    lines: list[str] = []
    with pytest.raises(ImageError, match=r"nothing at https://\*\*\*@pypi.example/simple by") as caught:
        build.build_notebook(engine_backend.api, lines.append, "oblako/never:latest")
    assert lines[-1] == "installing from https://***@pypi.example/simple"
    assert "s3cret" not in "".join(lines) + str(caught.value)


@pytest.mark.slow
def test_notebook_image_has_a_lab_for_ec2_user(notebook_image: str, engine_backend: Engine, run_label: str) -> None:
    script = """
        set -e
        sudo -nu ec2-user bash -c 'id -u; command -v jupyter-lab git pip; cd ~/SageMaker && touch here'
        su - ec2-user -c 'command -v jupyter'
        sudo -u ec2-user jupyter server extension list 2>&1 | grep -c enabled
        python -c 'import ssl, boto3, oblako_magic; print(oblako_magic.__version__)'
        cd "$(python -c 'import jupyterlab; print(jupyterlab.__path__[0])')" && ls __pycache__/*.pyc | wc -l | tr -d ' '
        pip check
        find /opt/notebook -name '*.pyc' -newer /etc/hostname
        ls /run /root/.netrc /root/.cache 2>/dev/null
        """
    _, output = _run(engine_backend, notebook_image, run_label, "bash", "-c", script)
    words = output.split()
    bin_ = f"{build.NOTEBOOK_HOME}/bin"
    assert words[:5] == ["1000", f"{bin_}/jupyter-lab", "/usr/bin/git", f"{bin_}/pip", f"{bin_}/jupyter"], output
    assert words[5:7] == ["3", __version__]
    assert int(words[7]) > 10
    assert words[8:] == ["No", "broken", "requirements", "found.", "/run:", "lock"], output
