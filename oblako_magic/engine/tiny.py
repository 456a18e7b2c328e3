"""The tiny image: a static busybox that tests launch in numbers."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Final

from ..errors import ImageError
from .rootfs import exists, import_image

TINY_IMAGE: Final = "oblako/tiny:latest"


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
    if not force and exists(api, name):
        return name
    import_image(
        api, _tiny_tar(_host_busybox() or _packaged_busybox()), name, ['CMD ["/bin/sh"]', "LABEL oblako.image=tiny"]
    )
    return name
