"""Root file systems that the engine imports as images: Debian's packages through mmdebstrap.

What is the same for every image that is built here: the scratch folder, the host's authorities, ``ec2-user``, the
report of the tool, the import. There is no Dockerfile, and nothing is pulled.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from ..errors import EngineError, ImageError, NotFound
from .translate import translated

SUITE: Final = "bookworm"
PACKAGES: Final = (
    "ca-certificates",
    "curl",
    "iproute2",
    "iputils-ping",
    "less",
    "openssh-client",
    "procps",
    "python3",
    "sudo",
    "vim-tiny",
)
"""What an instance has beyond Debian's smallest system; 0.2 GB in all, so that the build stays below a minute."""
_STEPS: Final = tuple(
    f"I: {word}" for word in ("running apt-get", "downloading", "extracting", "installing", "compiling", "creating")
)
"""What of mmdebstrap's report, and of a hook's own, a person wants to read."""
_LARGE: Final = re.compile(r"\s*Downloading (\S+)-\d[^ ]*\.whl.* \(([\d.]+) MB\)")
"""Pip's line for a download that takes its time."""
NO_TOOL: Final = (
    "building an image needs mmdebstrap; install it with: apt-get install mmdebstrap (on Debian or Ubuntu)."
)
_CREDENTIALS: Final = re.compile(r"(?<=//)[^/\s]+@")
"""In a proxy's or an index's URL."""

# Manuals and translations are a fifth of the size. Removing them at the end is 5 s faster than dpkg's
# path-exclude while unpacking; the setting stays for what is installed later.
_SLIM: Final = r"""
set -eu
rm -rf "$1"/usr/share/man/* "$1"/usr/share/info/* "$1"/usr/share/locale/*/LC_MESSAGES
find "$1"/usr/share/doc -mindepth 2 ! -name copyright ! -type d -delete
find "$1"/usr/share/doc -mindepth 1 -type d -empty -delete
printf '%s\n' 'path-exclude=/usr/share/man/*' 'path-exclude=/usr/share/info/*' \
  'path-exclude=/usr/share/locale/*/LC_MESSAGES/*' 'path-exclude=/usr/share/doc/*' \
  'path-include=/usr/share/doc/*/copyright' > "$1"/etc/dpkg/dpkg.cfg.d/no-documentation
"""

# As on Amazon Linux: uid 1000, sudo without a password.
_ACCOUNT: Final = r"""
set -eu
chroot "$1" useradd --create-home --uid 1000 --user-group --shell /bin/bash --groups adm,sudo ec2-user
printf 'ec2-user ALL=(ALL) NOPASSWD:ALL\n' > "$1"/etc/sudoers.d/90-ec2-user
chmod 0440 "$1"/etc/sudoers.d/90-ec2-user
"""

# The host's own authorities (a company proxy's among them) become the image's: one file for each, as
# update-ca-certificates wants them, so that they outlive its next run. Runs on the image's Python.
_TRUST: Final = r"""
import pathlib, re, sys
block = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
bundle = pathlib.Path("/etc/ssl/certs/ca-certificates.crt").read_text()
known = {"".join(text.split()) for text in block.findall(bundle)}
folder = pathlib.Path("/usr/local/share/ca-certificates")
new = {"".join(text.split()): text for text in block.findall(sys.stdin.read())}
for number, text in enumerate(text for key, text in new.items() if key not in known):
    (folder / f"oblako-host-{number}.crt").write_text(text + "\n")
"""


def say_nothing(_line: str) -> None:
    """Stands for a caller that wants no progress."""


def _is_podman(api: Any) -> bool:
    components = api.version().get("Components") or []
    return any("podman" in str(item.get("Name", "")).lower() for item in components)


def _reference(api: Any, name: str) -> str:
    """The name to import under: Podman would take a bare one for docker.io's."""
    return f"localhost/{name}" if _is_podman(api) and not name.startswith("localhost/") else name


def _image_id(api: Any, name: str) -> str:
    try:
        with translated(f"look for the image {name}"):
            return str(api.inspect_image(_reference(api, name))["Id"])
    except (ImageError, NotFound):
        return ""


def exists(api: Any, name: str) -> bool:
    """Whether the engine has the image."""
    return bool(_image_id(api, name))


def labels(api: Any, name: str) -> dict[str, str]:
    """The labels of an image that the engine has."""
    with translated(f"look at the image {name}"):
        return dict(api.inspect_image(_reference(api, name))["Config"].get("Labels") or {})


def import_image(api: Any, source: str | bytes, name: str, changes: list[str]) -> None:
    """Make an image of a root file system: the path of a tar file, or the bytes of one.

    The image that had the name before goes, where it has no other name and no container is made of it.
    """
    before = _image_id(api, name)
    with translated(f"import the image {name}"):
        repository, _, tag = _reference(api, name).rpartition(":")
        load = api.import_image_from_data if isinstance(source, bytes) else api.import_image_from_file
        answer = str(load(source, repository=repository, tag=tag, changes=changes))
    # Both engines answer 200 before they unpack: a failure is a line of the answer.
    if '"error"' in answer:
        raise ImageError(f"can't import the image {name}: {answer.strip()}")
    if before and before != _image_id(api, name):
        with contextlib.suppress(EngineError), translated(f"remove the former image {name}"):
            if not api.inspect_image(before).get("RepoTags"):
                api.remove_image(before)


@contextmanager
def scratch(need: int) -> Iterator[str]:
    """A folder for ``need`` bytes: in memory where there is room, which halves the time of a build."""
    memory = Path("/dev/shm")
    parent: str | None = None
    try:
        room = os.statvfs(memory)
        if room.f_bavail * room.f_frsize > 2 * need and not room.f_flag & (os.ST_NOEXEC | os.ST_NODEV):
            parent = str(memory)
    except (OSError, AttributeError):  # not a Linux machine
        parent = None
    with tempfile.TemporaryDirectory(prefix="oblako-build-", dir=parent, ignore_cleanup_errors=True) as folder:
        if parent is None and shutil.disk_usage(folder).free < need:
            raise ImageError(
                f"can't build an image: {folder} has less than {need >> 30} GB free; free some or set TMPDIR."
            )
        # mmdebstrap's own user namespace must be able to enter it.
        os.chmod(folder, 0o755)
        yield folder


def trust_bundles(further: Sequence[str] = ()) -> list[Path]:
    """Files with authorities that this host trusts: SSL_CERT_FILE or the system's own, and those named."""
    places = (
        os.environ.get("SSL_CERT_FILE") or "",
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
    )
    first = next((place for place in places if place and os.path.isfile(place)), "")
    return [Path(place) for place in dict.fromkeys([first, *further]) if place and os.path.isfile(place)]


def can_build() -> bool:
    """Whether the tool that builds images is installed."""
    return shutil.which("mmdebstrap") is not None


def bootstrap(
    target: str,
    folder: str,
    on_line: Callable[[str], None],
    *,
    packages: Sequence[str] = (),
    hooks: Sequence[str] = (),
    bundles: Sequence[Path] = (),
    environ: Mapping[str, str] | None = None,
) -> None:
    """Write a root file system to a tar file: Debian's smallest, ``PACKAGES``, ``ec2-user``, the host's authorities.

    Parameters
    ----------
    target : str
        The tar file.
    folder : str
        For scratch files.
    on_line : callable
        Gets lines of progress.
    packages : sequence of str
        Further Debian packages.
    hooks : sequence of str
        Shell scripts that run at the end, outside of the root file system, which is their ``$1``.
    bundles : sequence of Path
        Certificates that the image shall trust.
    environ : mapping of str to str, optional
        The hooks' environment; ours by default.

    Raises
    ------
    ImageError
        Never with the password of a proxy or of an index in it.
    """
    tool = shutil.which("mmdebstrap")
    if tool is None:
        raise ImageError(NO_TOOL)
    scripts = [_SLIM, _ACCOUNT]
    if bundles:
        files = " ".join(shlex.quote(str(bundle)) for bundle in bundles)
        scripts.append(
            f'set -eu; cat {files} | chroot "$1" python3 -c {shlex.quote(_TRUST)}\n'
            'chroot "$1" update-ca-certificates > /dev/null'
        )
    argv = [tool, "--variant=minbase", f"--include={','.join([*PACKAGES, *packages])}"]
    argv += [*(f"--customize-hook={script}" for script in [*scripts, *hooks]), SUITE, target]
    environment = dict(os.environ if environ is None else environ)
    environment.update(TMPDIR=folder, LC_ALL="C.UTF-8", DEBIAN_FRONTEND="noninteractive")
    tail: deque[str] = deque(maxlen=40)
    with subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
        errors="replace",
    ) as process:
        assert process.stderr is not None
        try:
            for raw in process.stderr:
                line = _CREDENTIALS.sub("***@", raw)
                tail.append(line.strip())
                large = _LARGE.match(line)
                if line.startswith(_STEPS):
                    on_line(line[3:].strip().removesuffix("..."))
                elif large and float(large[2]) >= 1:
                    on_line(f"downloading {large[1]}, {large[2]} MB")
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise ImageError(
            f"can't build an image: mmdebstrap ended with {process.returncode} ({_reason(list(tail))}); "
            f"check that Debian's packages{' and the Python package index' if hooks else ''} can be reached."
        )


def _reason(lines: list[str]) -> str:
    """What of the tool's last lines says why: pip's own errors before those of who called it."""
    for prefix in ("ERROR: ", "E: "):
        for line in lines:
            if line.startswith(prefix):
                return line.removeprefix(prefix).rstrip(".")
    return (lines or ["no output"])[-1]
