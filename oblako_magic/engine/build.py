"""Images made on this machine from Debian's packages, for where no registry can be reached.

Two of them: the base image, a small Debian that is of use as an EC2 machine, and a tiny one of a
static busybox that tests launch in numbers. Both are root file systems that the engine imports, so
there is no Dockerfile and nothing is pulled.
"""

from __future__ import annotations

import io
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from .. import names
from ..errors import ImageError, NotFound
from .translate import translated

TINY_IMAGE: Final = "oblako/tiny:latest"
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
    f"I: {word}" for word in ("running apt-get", "downloading", "extracting", "installing", "creating")
)
"""What of mmdebstrap's report a person wants to read."""
_SCRATCH: Final = 1 << 30
"""Bytes that the build needs for its scratch files, generously."""

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
new = [text for text in block.findall(sys.stdin.read()) if "".join(text.split()) not in known]
for number, text in enumerate(new):
    (folder / f"oblako-host-{number}.crt").write_text(text + "\n")
"""


def _say_nothing(_line: str) -> None:
    """Stands for a caller that wants no progress."""


def _is_podman(api: Any) -> bool:
    components = api.version().get("Components") or []
    return any("podman" in str(item.get("Name", "")).lower() for item in components)


def _reference(api: Any, name: str) -> str:
    """The name to import under: Podman would take a bare one for docker.io's."""
    return f"localhost/{name}" if _is_podman(api) and not name.startswith("localhost/") else name


def _exists(api: Any, name: str) -> bool:
    try:
        with translated(f"look for the image {name}"):
            api.inspect_image(_reference(api, name))
    except (ImageError, NotFound):
        return False
    return True


def _import(api: Any, source: str | bytes, name: str, changes: list[str]) -> None:
    """Make an image of a root file system: the path of a tar file, or the bytes of one."""
    with translated(f"import the image {name}"):
        repository, _, tag = _reference(api, name).rpartition(":")
        load = api.import_image_from_data if isinstance(source, bytes) else api.import_image_from_file
        answer = str(load(source, repository=repository, tag=tag, changes=changes))
    # Both engines answer 200 before they unpack: a failure is a line of the answer.
    if '"error"' in answer:
        raise ImageError(f"can't import the image {name}: {answer.strip()}")


@contextmanager
def _scratch() -> Iterator[str]:
    """A folder for the build: in memory where there is room, which halves its time."""
    memory = Path("/dev/shm")
    parent: str | None = None
    try:
        room = os.statvfs(memory)
        if room.f_bavail * room.f_frsize > 2 * _SCRATCH and not room.f_flag & (os.ST_NOEXEC | os.ST_NODEV):
            parent = str(memory)
    except (OSError, AttributeError):  # not a Linux machine
        parent = None
    with tempfile.TemporaryDirectory(prefix="oblako-build-", dir=parent, ignore_cleanup_errors=True) as folder:
        if parent is None and shutil.disk_usage(folder).free < _SCRATCH:
            raise ImageError(
                f"can't build an image: {folder} has less than {_SCRATCH >> 30} GB free; free some or set TMPDIR."
            )
        # mmdebstrap's own user namespace must be able to enter it.
        os.chmod(folder, 0o755)
        yield folder


def _trust_bundle() -> Path | None:
    """The host's authorities: SSL_CERT_FILE, or where Debian, Fedora and SUSE keep them."""
    places = (
        os.environ.get("SSL_CERT_FILE") or "",
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
    )
    return next((Path(place) for place in places if place and os.path.isfile(place)), None)


def _hooks() -> list[str]:
    hooks = [_SLIM, _ACCOUNT]
    bundle = _trust_bundle()
    if bundle:
        hooks.append(
            f'set -eu; chroot "$1" python3 -c {shlex.quote(_TRUST)} < {shlex.quote(str(bundle))}\n'
            'chroot "$1" update-ca-certificates > /dev/null'
        )
    return [f"--customize-hook={hook}" for hook in hooks]


def can_build() -> bool:
    """Whether the tool that builds the base image is installed."""
    return shutil.which("mmdebstrap") is not None


def _bootstrap(target: str, scratch: str, on_line: Callable[[str], None]) -> None:
    """Write the base image's root file system to a tar file."""
    tool = shutil.which("mmdebstrap")
    if tool is None:
        raise ImageError(
            "building an image needs mmdebstrap; install it with: apt-get install mmdebstrap (on Debian or Ubuntu)."
        )
    argv = [tool, "--variant=minbase", f"--include={','.join(PACKAGES)}", *_hooks(), SUITE, target]
    environment = {**os.environ, "TMPDIR": scratch, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    tail: deque[str] = deque(maxlen=20)
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
            for line in process.stderr:
                tail.append(line.strip())
                if line.startswith(_STEPS):
                    on_line(line[3:].strip().removesuffix("..."))
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        errors = (
            [line.removeprefix("E: ") for line in tail if line.startswith("E: ")] or list(tail)[-1:] or ["no output"]
        )
        raise ImageError(
            f"can't build an image: mmdebstrap ended with {process.returncode} ({errors[0]}); "
            "check that Debian's packages can be reached."
        )


def build_base(
    api: Any, on_line: Callable[[str], None] | None = None, name: str = names.BASE_IMAGE, *, force: bool = False
) -> str:
    """Build the base image: a small Debian with ``ec2-user``, sudo, Python, curl and ssh.

    Parameters
    ----------
    api : docker.APIClient
        Of Docker or of Podman.
    on_line : callable, optional
        Gets a line of progress now and then.
    name : str
        With its tag.
    force : bool
        Build it also where it exists.

    Returns
    -------
    str
        The image's name, as instances are launched with.

    Raises
    ------
    ImageError
        Where it can't be built; the sentence says what to install or check.
    """
    say = on_line or _say_nothing
    if not force and _exists(api, name):
        say(f"{name} is here already")
        return name
    with _scratch() as folder:
        tar = os.path.join(folder, "base.tar")
        say(f"building {name} from Debian's packages, which takes about half a minute")
        _bootstrap(tar, folder, say)
        say(f"importing {name}, {os.stat(tar).st_size / 1e6:.0f} MB")
        _import(api, tar, name, ['CMD ["/bin/bash"]', "ENV LANG=C.UTF-8", "LABEL oblako.image=base"])
    return name


def _host_busybox() -> bytes | None:
    """The host's busybox where it is a static one."""
    path = shutil.which("busybox")
    if path is None or not sys.platform.startswith("linux"):
        return None
    data = Path(path).read_bytes()
    # A dynamic one names its loader.
    return None if b"/ld-linux" in data or b"/ld-musl" in data else data


def _packaged_busybox() -> bytes:
    """Busybox out of Debian's package, which is downloaded but not installed."""
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise ImageError("the tiny image needs a static busybox; install the package busybox-static.")
    with tempfile.TemporaryDirectory(prefix="oblako-build-") as folder:
        # apt drops to its own account, which must be able to write here.
        os.chmod(folder, 0o777)
        try:
            subprocess.run(
                ["apt-get", "download", "-q", "busybox-static"],
                cwd=folder,
                check=True,
                capture_output=True,
                stdin=subprocess.DEVNULL,
            )
            package = next(Path(folder).glob("busybox-static_*.deb"))
            shown = subprocess.run(
                ["dpkg-deb", "--fsys-tarfile", str(package)], check=True, capture_output=True, stdin=subprocess.DEVNULL
            )
        except (subprocess.CalledProcessError, StopIteration) as error:
            raise ImageError("can't download the package busybox-static; run apt-get update and try again.") from error
    with tarfile.open(fileobj=io.BytesIO(shown.stdout)) as archive:
        member = next((item for item in archive if item.isfile() and item.name.endswith("/busybox")), None)
        content = archive.extractfile(member) if member else None
        if content is None:
            raise ImageError("the package busybox-static has no busybox in it.")
        return content.read()


def _applets(busybox: bytes) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="oblako-build-") as folder:
        path = Path(folder, "busybox")
        path.write_bytes(busybox)
        path.chmod(0o755)
        listed = subprocess.run(
            [str(path), "--list"], check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
    return [name for name in listed.stdout.split() if name != "busybox"]


def _tiny_tar(busybox: bytes) -> bytes:
    """The root file system of the tiny image; the same bytes for the same busybox."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:

        def add(name: str, data: bytes | None = None, mode: int = 0o755, link: str = "", owner: int = 0) -> None:
            item = tarfile.TarInfo(name)
            item.mode, item.uid, item.gid = mode, owner, owner
            if link:
                item.type, item.linkname = tarfile.SYMTYPE, link
            elif data is None:
                item.type = tarfile.DIRTYPE
            else:
                item.size = len(data)
            archive.addfile(item, io.BytesIO(data) if data is not None else None)

        for folder in (
            "bin",
            "dev",
            "etc",
            "home",
            "proc",
            "run",
            "sbin",
            "sys",
            "usr",
            "usr/bin",
            "usr/local",
            "usr/local/bin",
        ):
            add(folder)
        for folder in ("usr/local/sbin", "usr/sbin", "var", "var/lib", "var/log"):
            add(folder)
        add("root", mode=0o700)
        add("home/ec2-user", mode=0o700, owner=1000)
        add("tmp", mode=0o1777)
        add("var/tmp", mode=0o1777)
        add("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nec2-user:x:1000:1000::/home/ec2-user:/bin/sh\n", 0o644)
        add("etc/group", b"root:x:0:\nec2-user:x:1000:\n", 0o644)
        add("bin/busybox", busybox)
        for applet in _applets(busybox):
            add(f"bin/{applet}", link="busybox")
        # Scripts name their interpreters by these paths.
        add("usr/bin/env", link="../../bin/busybox")
    return buffer.getvalue()


def build_tiny(api: Any, name: str = TINY_IMAGE, *, force: bool = False) -> str:
    """Make the tiny image, 2 MB: a static busybox, ``ec2-user`` and nothing else.

    Parameters
    ----------
    api : docker.APIClient
        Of Docker or of Podman.
    name : str
        With its tag.
    force : bool
        Make it also where it exists.

    Returns
    -------
    str
        The image's name.

    Raises
    ------
    ImageError
        Where no static busybox can be had.
    """
    if not force and _exists(api, name):
        return name
    _import(
        api, _tiny_tar(_host_busybox() or _packaged_busybox()), name, ['CMD ["/bin/sh"]', "LABEL oblako.image=tiny"]
    )
    return name
