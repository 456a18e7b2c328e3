"""Images made on this machine from packages, for where no registry can be reached.

The base image is a small Debian that is of use as an EC2 machine; the notebook image is that with JupyterLab and this
package. (The tiny one of the tests is in ``tiny.py``.)
"""

from __future__ import annotations

import datetime
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from .. import __version__, names
from ..errors import ImageError
from . import package, rootfs
from .rootfs import can_build
from .tiny import TINY_IMAGE, build_tiny

__all__ = ["TINY_IMAGE", "build_base", "build_notebook", "build_tiny", "can_build"]

_GB: Final = 1 << 30
NOTEBOOK_HOME: Final = "/opt/notebook"
"""The virtual environment of JupyterLab; Debian's own Python stays as it is."""
NOTEBOOK_DEBS: Final = ("git", "python3-venv")
NOTEBOOK_PACKAGES: Final = (
    "boto3>=1.35,<2",
    "ipykernel>=6.29,!=7.0.*,<8",
    "ipywidgets>=8,<9",
    "jupyterlab>=4.2,<5",
)
_PATH: Final = f"{NOTEBOOK_HOME}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# What pip asks for its secrets with is in the environment and, for as long as it runs, in files below /run.
# Setuptools goes, which nothing needs. All is compiled here, so that nothing is at the first start; pip's own way of
# it uses one CPU. The sources get an old date first: mmdebstrap sets what is younger than its own start back to that,
# and each compiled file holds the date of its source. There is no aws command: it brings a second botocore, 125 MB.
_NOTEBOOK: Final = r"""
set -eu
root=$1
home=@HOME@
unset TMPDIR
private=/run/oblako-build
(umask 077 && mkdir "$root$private")
cp @WHEEL@ "$root$private/"
if [ -n "${OBLAKO_BUILD_NETRC:-}" ]; then
  (umask 077 && printf '%s\n' "$OBLAKO_BUILD_NETRC" > "$root$private/netrc")
  export NETRC=$private/netrc
fi
if [ -n "${OBLAKO_BUILD_CLIENT_CERT:-}" ]; then
  (umask 077 && printf '%s\n' "$OBLAKO_BUILD_CLIENT_CERT" > "$root$private/client.pem")
  export PIP_CLIENT_CERT=$private/client.pem
fi
unset OBLAKO_BUILD_NETRC OBLAKO_BUILD_CLIENT_CERT
pip() {
  chroot "$root" "$home/bin/python" -m pip "$@" --quiet --disable-pip-version-check --no-input >&2
}
echo "I: installing pip into $home..." >&2
chroot "$root" python3 -m venv "$home"
pip install --no-cache-dir --no-compile 'pip>=24,<28'
echo "I: installing JupyterLab and oblako_magic with pip..." >&2
chroot "$root" "$home/bin/python" -m pip install --no-cache-dir --no-compile --prefer-binary --progress-bar off \
  --root-user-action ignore --disable-pip-version-check --no-input @PACKAGES@ "$private/@WHEEL_NAME@" >&2
pip uninstall --yes --root-user-action ignore setuptools rfc3987-syntax lark
rm -rf "$root$private" "$root/root/.cache"
echo "I: compiling what was installed..." >&2
find "$root$home/lib" -name '*.py' -exec touch -h -d '2020-01-01 00:00:00 UTC' {} +
chroot "$root" "$home/bin/python" -m compileall -q -j 0 "$home/lib" > /dev/null || true
settings=$root$home/etc/jupyter
mkdir -p "$settings/labconfig" "$settings/jupyter_server_config.d"
printf '%s\n' '{"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": true}}' \
  > "$settings/labconfig/page_config.json"
printf '%s\n' '{"ServerApp": {"jpserver_extensions": {"jupyter_lsp": false}}}' \
  > "$settings/jupyter_server_config.d/zz-oblako.json"
printf '[global]\ncert = @CERTIFICATES@\n' > "$root/etc/pip.conf"
printf 'case ":$PATH:" in *:@HOME@/bin:*) ;; *) PATH=@HOME@/bin:$PATH ;; esac\n' > "$root/etc/profile.d/oblako.sh"
printf 'Defaults secure_path="@PATH@"\n' > "$root/etc/sudoers.d/80-notebook"
chmod 0440 "$root/etc/sudoers.d/80-notebook"
mkdir -p "$root/home/ec2-user/SageMaker"
chroot "$root" chown -R 1000:1000 "$home" /home/ec2-user
"""


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
    say = on_line or rootfs.say_nothing
    if not force and rootfs.exists(api, name):
        say(f"{name} is here already")
        return name
    with rootfs.scratch(_GB) as folder:
        tar = os.path.join(folder, "base.tar")
        say(f"building {name} from Debian's packages, which takes about half a minute")
        rootfs.bootstrap(tar, folder, say, bundles=rootfs.trust_bundles())
        say(f"importing {name}, {os.stat(tar).st_size / 1e6:.0f} MB")
        changes = ['CMD ["/bin/bash"]', "ENV LANG=C.UTF-8", f"LABEL {names.LABEL_IMAGE}=base"]
        changes.append(f"LABEL {names.LABEL_BUILT}={_now()}")
        rootfs.import_image(api, tar, name, changes)
    return name


def build_notebook(
    api: Any, on_line: Callable[[str], None] | None = None, name: str = names.NOTEBOOK_IMAGE, *, force: bool = False
) -> str:
    """Build the notebook image: the base image's Debian, git, and JupyterLab with this very oblako_magic.

    Parameters
    ----------
    api : docker.APIClient
        Of Docker or of Podman.
    on_line : callable, optional
        Gets a line of progress now and then.
    name : str
        With its tag.
    force : bool
        Build it also where it is here with this version of the package in it.

    Returns
    -------
    str
        The image's name.

    Raises
    ------
    ImageError
        Where it can't be built; the sentence says what to install or check, and no password of a proxy.

    Notes
    -----
    Pip runs with this host's network, proxies, package index and authorities (environment and configuration files);
    of these only the authorities stay in the image.
    """
    say = on_line or rootfs.say_nothing
    if not force and rootfs.exists(api, name):
        labels = rootfs.labels(api, name)
        version = labels.get(names.LABEL_VERSION, "")
        if version == __version__:
            same = labels.get(names.LABEL_SOURCE) == package.digest()
            say(
                f"{name} is here already{'' if same else ', from other files of this version; --force builds it again'}"
            )
            return name
        say(f"{name} was built by {f'version {version}' if version else 'somebody else'}; it is built again")
    if not can_build():
        raise ImageError(rootfs.NO_TOOL)
    environ, local = package.build_environment(os.environ)
    for place in local:
        say(f"{place} is a folder of this machine and is not used: the build can't see it")
    pip_cert = package.pip_options(os.environ).get("cert", "")
    bundles = rootfs.trust_bundles([pip_cert, os.environ.get("REQUESTS_CA_BUNDLE", "")])
    with rootfs.scratch(2 * _GB) as folder:
        wheel = package.write_wheel(Path(folder))
        wheel.chmod(0o644)
        values = {
            "HOME": NOTEBOOK_HOME,
            "WHEEL": shlex.quote(str(wheel)),
            "WHEEL_NAME": wheel.name,
            "PACKAGES": shlex.join(NOTEBOOK_PACKAGES),
            "CERTIFICATES": package.CERTIFICATES,
            "PATH": _PATH,
        }
        hook = _NOTEBOOK
        for key, value in values.items():
            hook = hook.replace(f"@{key}@", value)
        tar = os.path.join(folder, "notebook.tar")
        say(f"building {name} from Debian's packages and the Python package index, which takes one to two minutes")
        rootfs.bootstrap(tar, folder, say, packages=NOTEBOOK_DEBS, hooks=[hook], bundles=bundles, environ=environ)
        say(f"importing {name}, {os.stat(tar).st_size / 1e6:.0f} MB")
        rootfs.import_image(api, tar, name, _notebook_changes())
    return name


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _notebook_changes() -> list[str]:
    """What an import adds to the image beside its files: how it runs by itself, and what it was built of."""
    return [
        # Alone, as "docker run -p 127.0.0.1:8888:8888": a token of its own, on its output.
        'CMD ["runuser", "ec2-user", "-c", "cd ~/SageMaker && exec jupyter-lab --ip=0.0.0.0 --no-browser"]',
        "EXPOSE 8888",
        "WORKDIR /home/ec2-user/SageMaker",
        f"ENV PATH={_PATH}",
        "ENV LANG=C.UTF-8",
        "ENV SHELL=/bin/bash",
        # Python's requests, which boto3 and others carry, brings authorities of its own.
        f"ENV REQUESTS_CA_BUNDLE={package.CERTIFICATES}",
        f"LABEL {names.LABEL_IMAGE}=notebook",
        f"LABEL {names.LABEL_VERSION}={__version__}",
        f"LABEL {names.LABEL_SOURCE}={package.digest()}",
        f"LABEL {names.LABEL_BUILT}={_now()}",
    ]
