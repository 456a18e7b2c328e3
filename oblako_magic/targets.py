"""Which instances a person means: id, unambiguous prefix, Name tag, glob, ``@last``. Pure; no I/O."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from datetime import datetime, timezone
from fnmatch import fnmatchcase
from typing import TypeVar

from .errors import TargetError
from .handles import Instance

LAST = "@last"
_NEVER = datetime.min.replace(tzinfo=timezone.utc)
T = TypeVar("T")


def _names(instances: Sequence[Instance]) -> str:
    shown = [instance.label for instance in instances[:6]]
    more = len(instances) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def match(target: str, instances: Sequence[Instance]) -> list[Instance]:
    """The instances that one target means; several for a glob, or a Name that several have.

    Parameters
    ----------
    target : str
    instances : sequence of Instance
        Among which to look.

    Raises
    ------
    TargetError
        Where there is none, or where a prefix means several; the sentence names the candidates.
    """
    if target == LAST:
        if not instances:
            raise TargetError("there is no instance yet; %ec2 run starts one.")
        return [max(instances, key=lambda instance: instance.launch_time or _NEVER)]
    exact = [instance for instance in instances if instance.id == target]
    if exact:
        return exact
    named = [instance for instance in instances if instance.name and instance.name == target]
    if named:
        return named
    if any(sign in target for sign in "*?["):
        found = [i for i in instances if fnmatchcase(i.id, target) or (i.name and fnmatchcase(i.name, target))]
        if found:
            return found
        raise TargetError(f"no instance matches {target!r}; %ec2 ls shows what there is.")
    prefixed = (
        [i for i in instances if i.id.startswith(target) or (target and i.id.startswith(f"i-{target}"))]
        if target
        else []
    )
    if len(prefixed) == 1:
        return prefixed
    if prefixed:
        raise TargetError(
            f"{target!r} means several instances: {_names(prefixed)}; give more of the id, or a glob such as {target}*."
        )
    near = difflib.get_close_matches(target, [n for i in instances for n in (i.name, i.id) if n], n=3, cutoff=0.5)
    if near:
        raise TargetError(f"no instance is called {target!r}; did you mean {' or '.join(near)}?")
    if instances:
        raise TargetError(f"no instance is called {target!r}; there are {_names(instances)}.")
    raise TargetError(f"no instance is called {target!r}; there is none yet, %ec2 run starts one.")


def resolve(targets: Sequence[str], instances: Sequence[Instance]) -> list[Instance]:
    """The instances that several targets mean, each once, in order."""
    found: dict[str, Instance] = {}
    for target in targets:
        for instance in match(target, instances):
            found.setdefault(instance.id, instance)
    return list(found.values())


def parse_filter(text: str) -> dict[str, object]:
    """``tag:Env=dev,test`` as a filter of DescribeInstances.

    Raises
    ------
    TargetError
    """
    name, equals, values = text.partition("=")
    if not name or not equals:
        raise TargetError(f"{text!r} is no filter; give NAME=VALUE, such as tag:Env=dev or instance-type=t3.micro.")
    return {"Name": name, "Values": values.split(",")}
