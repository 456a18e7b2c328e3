"""What the notebook image needs of the Python that builds it: this package as a wheel, and how pip is led.

The wheel is made of the files of the package that runs, from a checkout as from an installation; nothing is fetched.
"""

from __future__ import annotations

import base64
import configparser
import hashlib
import os
import re
import sys
import zipfile
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Final

from .. import __version__
from ..errors import ImageError

_DISTRIBUTION: Final = "oblako-magic"
_SERVER_ONLY: Final = re.compile(r"Requires-Dist: *(moto|cheroot)\b", re.IGNORECASE)
"""An instance drives the cloud that it runs in: it needs no control plane of its own, which is half of the bytes."""
_PIP: Final = (
    "cert",
    "client-cert",
    "extra-index-url",
    "find-links",
    "index-url",
    "no-index",
    "prefer-binary",
    "proxy",
    "retries",
    "timeout",
    "trusted-host",
)
"""The options of pip that say where packages come from; the others would put them elsewhere."""
CERTIFICATES: Final = "/etc/ssl/certs/ca-certificates.crt"
"""The image's own."""


def _root() -> Path:
    return Path(__file__).resolve().parent.parent


def _files() -> Iterator[tuple[str, bytes]]:
    """The package's files, in the same order everywhere."""
    root = _root()
    for path in sorted(root.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield f"{root.name}/{path.relative_to(root).as_posix()}", path.read_bytes()


def digest() -> str:
    """A short name for the package's files as they are: two builds of one version may differ in them."""
    found = hashlib.sha256()
    for name, data in _files():
        found.update(f"{name}\0{len(data)}\0".encode() + data)
    return found.hexdigest()[:16]


def _metadata() -> tuple[str, str]:
    """METADATA and entry_points.txt of the wheel."""
    try:
        found = metadata.distribution(_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        raise ImageError(
            "oblako_magic is not installed here, so that nothing says what it needs; "
            "install it with: pip install --editable ."
        ) from None
    head, blank, rest = (found.read_text("METADATA") or "").partition("\n\n")
    lines = [line for line in head.splitlines() if not _SERVER_ONLY.match(line) and "extra ==" not in line]
    lines = [line for line in lines if not line.startswith(("Provides-Extra:", "License-File:"))]
    # A checkout may be newer than what its installation wrote down.
    lines = [f"Version: {__version__}" if line.startswith("Version:") else line for line in lines]
    return "\n".join(lines) + blank + rest, found.read_text("entry_points.txt") or ""


def write_wheel(folder: Path) -> Path:
    """Write the wheel of this package.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    Path
        The wheel.

    Raises
    ------
    ImageError
        Where the package is not installed.
    """
    about, entry_points = _metadata()
    info = f"oblako_magic-{__version__}.dist-info"
    kind = "Wheel-Version: 1.0\nGenerator: oblako_magic\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files = dict(_files())
    files[f"{info}/METADATA"] = about.encode()
    files[f"{info}/WHEEL"] = kind.encode()
    if entry_points:
        files[f"{info}/entry_points.txt"] = entry_points.encode()
    record = []
    wheel = folder / f"oblako_magic-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
            checksum = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{name},sha256={checksum},{len(data)}\n")
        record.append(f"{info}/RECORD,,\n")
        archive.writestr(zipfile.ZipInfo(f"{info}/RECORD"), "".join(record))
    return wheel


def _config_files(environ: Mapping[str, str]) -> list[Path]:
    """Pip's configuration files, the weakest first."""
    chosen = environ.get("PIP_CONFIG_FILE", "")
    if chosen == os.devnull:
        return []
    home = Path.home()
    folders = [Path(text) for text in (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep) if text]
    user = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    files = [*(folder / "pip/pip.conf" for folder in reversed(folders)), Path("/etc/pip.conf")]
    files += [home / ".pip/pip.conf", user / "pip/pip.conf", Path(sys.prefix) / "pip.conf"]
    return [*files, Path(chosen)] if chosen else files


def pip_options(environ: Mapping[str, str]) -> dict[str, str]:
    """Where pip of this user takes packages from, by its environment and its configuration files.

    Parameters
    ----------
    environ : mapping of str to str

    Returns
    -------
    dict of str to str
        Long options without dashes, lists with blanks between. May hold passwords: for an environment alone.
    """
    found: dict[str, str] = {}
    parser = configparser.RawConfigParser(strict=False)
    for path in _config_files(environ):
        try:
            parser.read(path)
        except (OSError, UnicodeDecodeError, configparser.Error):
            continue
    for section in ("global", "install"):
        if parser.has_section(section):
            found.update({key.replace("_", "-"): value for key, value in parser.items(section)})
    for key, value in environ.items():
        if key.startswith("PIP_"):
            found[key[4:].lower().replace("_", "-")] = value
    return {key: " ".join(value.split()) for key, value in found.items() if key in _PIP and value.split()}


def _is_local(place: str) -> bool:
    """Whether a package index is a folder of this host, which the image that is built can't see."""
    return place.startswith("file:") or "://" not in place


def build_environment(environ: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The environment that pip has inside the image that is built, and the folders of this host that it can't use.

    Parameters
    ----------
    environ : mapping of str to str
        The environment here: its proxies go along, its Python and its certificates do not.
    """
    options = pip_options(environ)
    local: list[str] = []
    for key in ("extra-index-url", "find-links", "index-url"):
        places = options.pop(key, "").split()
        local += [place for place in places if _is_local(place)]
        remote = [place for place in places if not _is_local(place)]
        if remote:
            options[key] = " ".join(remote)
    private = {}
    for key, path in (("client-cert", options.pop("client-cert", "")), ("netrc", environ.get("NETRC") or "~/.netrc")):
        try:
            # As text in the environment: no file of this user's need be readable for the build's own accounts.
            private[f"OBLAKO_BUILD_{key.upper().replace('-', '_')}"] = Path(path).expanduser().read_text()
        except (OSError, UnicodeDecodeError):
            continue
    options["cert"] = CERTIFICATES
    theirs = ("PIP_", "PYTHON", "OBLAKO_", "VIRTUAL_ENV", "CONDA_")
    kept = {key: value for key, value in environ.items() if not key.startswith(theirs) and key != "NETRC"}
    for key in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        kept[key] = CERTIFICATES
    kept.pop("SSL_CERT_DIR", None)
    kept.update({f"PIP_{key.upper().replace('-', '_')}": value for key, value in options.items()})
    return {**kept, **private}, local
