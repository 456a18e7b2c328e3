"""What may be asked for, and the sentences that answer. Pure, but for reading a script; no control plane, no engine."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from .. import names as tags
from ..errors import OblakoError, TargetError
from ..model import parse_publish
from .handles import DELETED, Notebook

DEFAULT_TYPE = "ml.t3.medium"
MOST = 100
"""As many as one call makes."""
_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*")


# -- what is asked for --------------------------------------------------------------------------------


def names(name: str | Sequence[str], count: int | None) -> list[str]:
    """The names to make, checked."""
    given = [name] if isinstance(name, str) else list(name)
    if not given:
        raise OblakoError("a notebook instance needs a name.")
    if count is not None:
        if len(given) != 1:
            raise OblakoError("a count numbers one name; give one name, or all names and no count.")
        if not 1 <= count <= MOST:
            raise OblakoError(f"can't make {count} notebooks at once; give a count from 1 to {MOST}.")
        width = max(2, len(str(count)))
        given = [f"{given[0]}-{number:0{width}}" for number in range(1, count + 1)]
    if len(given) > MOST:
        raise OblakoError(f"can't make {len(given)} notebooks at once; give {MOST} names at most.")
    for each in given:
        if len(each) > 63 or not _NAME.fullmatch(each):
            raise OblakoError(
                f"{each!r} is no name of a notebook instance; it has letters, digits and hyphens between them, "
                "63 at most."
            )
    twice = next((each for each in given if given.count(each) > 1), None)
    if twice:
        raise OblakoError(f"the name {twice} is given twice.")
    return given


def extras(
    image: str | None,
    publish: Sequence[str],
    env: Mapping[str, str] | None,
    lifetime: float | None,
    idle: float | None,
) -> dict[str, str]:
    """The tags of what SageMaker has no field for."""
    found: dict[str, str] = {}
    if image:
        found[tags.TAG_IMAGE] = image
    if publish:
        try:
            parse_publish(",".join(publish))
        except ValueError as error:
            raise OblakoError(str(error)) from error
        found[tags.TAG_PUBLISH] = ",".join(publish)
    if env:
        found[tags.TAG_ENV] = json.dumps(dict(env), separators=(",", ":"))
    for tag, seconds in ((tags.TAG_LIFETIME, lifetime), (tags.TAG_IDLE, idle)):
        if seconds is not None:
            if seconds < 1:
                raise OblakoError(f"{seconds:g} s is no time to live; give a second or more.")
            found[tag] = str(round(seconds))
    return found


def repositories(git: str | Sequence[str]) -> dict[str, Any]:
    """The fields of the repositories to clone: the first is the default one."""
    given = [git] if isinstance(git, str) else list(git)
    given = [each for each in given if each]
    if len(given) > 4:
        raise OblakoError(f"a notebook instance clones 4 repositories at most, and {len(given)} are given.")
    return optional(DefaultCodeRepository=given[0] if given else None, AdditionalCodeRepositories=given[1:] or None)


def optional(**values: Any) -> dict[str, Any]:
    """What is given of the fields of a request."""
    return {key: value for key, value in values.items() if value is not None}


def read(path: Path) -> str:
    """The text of a lifecycle script."""
    try:
        return path.expanduser().read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it isn't UTF-8 text"
        raise OblakoError(f"the lifecycle script {path} can't be read: {reason}.") from error


# -- sentences -----------------------------------------------------------------------------------------


def match(target: str, pool: Sequence[Notebook]) -> list[Notebook]:
    """The notebooks that one target means."""
    if target == "@last" and pool:
        return [max(pool, key=lambda notebook: notebook.created.timestamp() if notebook.created else 0.0)]
    found = [notebook for notebook in pool if notebook.name == target]
    if not found and any(sign in target for sign in "*?["):
        found = [notebook for notebook in pool if fnmatchcase(notebook.name, target)]
    if found:
        return found
    known = [notebook.name for notebook in pool]
    if not known:
        raise TargetError(f"no notebook is called {target!r}; there is none yet, %ec2 notebook run NAME makes one.")
    near = difflib.get_close_matches(target, known, n=3, cutoff=0.5)
    if near:
        raise TargetError(f"no notebook is called {target!r}; did you mean {' or '.join(near)}?")
    raise TargetError(f"no notebook is called {target!r}; there are {listed(known)}.")


def listed(whom: Sequence[str]) -> str:
    """Names for a sentence, not too many of them."""
    return ", ".join(whom[:4]) + (f" and {len(whom) - 4} more" if len(whom) > 4 else "")


def ended(missed: Sequence[Notebook], status: str) -> str:
    """What became of notebooks instead of what was waited for, why, and what to do next."""
    first = missed[0]
    many = f" ({len(missed)} in all)" if len(missed) > 1 else ""
    reason = f": {first.failure_reason.rstrip('.')}" if first.failure_reason else ""
    gone = first.status in (DELETED, "Deleting")
    step = "%ec2 notebook ls shows what there is" if gone else f"%ec2 notebook terminate {first.name} removes it"
    if status == "InService" and first.status == "Stopped":
        step = f"%ec2 notebook start {first.name} starts it"
    return f"{first.name} is {first.status}, not {status}{many}{reason}; {step}"


def not_open(notebook: Notebook) -> str:
    """Why a notebook can't be opened, and what to do."""
    steps = {
        "Pending": "it opens as soon as JupyterLab answers",
        "Stopped": f"%ec2 notebook start {notebook.name} starts it",
        "Failed": f"{notebook.failure_reason.rstrip('.') or 'no reason'}; "
        f"%ec2 notebook terminate {notebook.name} removes it",
        DELETED: f"%ec2 notebook run {notebook.name} makes a new one",
    }
    return f"{notebook.name} is {notebook.status}: {steps.get(notebook.status, '%ec2 notebook ls shows when it is')}."
