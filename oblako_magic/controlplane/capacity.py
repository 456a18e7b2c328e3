"""How many instances there is room for (``OBLAKO_EC2_CAPACITY``); looks at moto's records and at no engine."""

from __future__ import annotations

import os
from collections.abc import Callable

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.instance_types import INSTANCE_TYPES

from .records import all_instances

SHORT = "InsufficientInstanceCapacity"
Size = tuple[float, int]
"""vCPUs and memory in MiB; no memory is one that nobody knows."""
Limit = Callable[[], "Size | None"]
"""What all instances may have together now; None is no limit."""


def host_size() -> Size:
    """This machine's, for as long as no engine has told its own."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    except (AttributeError, ValueError, OSError):
        memory = 0
    return float(os.cpu_count() or 1), memory


def _size(instance_type: str) -> Size:
    kind = INSTANCE_TYPES.get(instance_type)
    if kind is None:
        return 0.0, 0
    return float(kind["VCpuInfo"]["DefaultVCpus"]), int(kind["MemoryInfo"]["SizeInMiB"])


def _left(limit: Size) -> Size:
    """What nobody has now; a stopped instance has nothing, as on EC2: its next start may find no room."""
    used = [_size(i.instance_type) for i in all_instances() if i.state in ("pending", "running", "stopping")]
    return limit[0] - sum(size[0] for size in used), limit[1] - sum(size[1] for size in used)


def fitting(limit: Size | None, instance_type: str, most: int) -> int:
    """How many instances of a type can be launched, and at most ``most``."""
    cpus, memory = _size(instance_type)
    if limit is None or not cpus:
        return most
    left = _left(limit)
    fits = int(left[0] // cpus)
    if limit[1] and memory:
        fits = min(fits, left[1] // memory)
    return max(0, min(most, fits))


def shortage(instance_type: str, wanted: int, fits: int) -> str:
    """EC2's words for too little room."""
    return (
        f"We currently do not have sufficient {instance_type} capacity: there is room for {fits} more, "
        f"{wanted} are wanted (OBLAKO_EC2_CAPACITY)."
    )


def room(limit: Size | None, instance_type: str, least: int, most: int) -> int:
    """How many instances of a type a request gets.

    Parameters
    ----------
    limit : (float, int) or None
    instance_type : str
    least, most : int
        MinCount and MaxCount.

    Raises
    ------
    EC2ClientError
        ``InsufficientInstanceCapacity`` where there is not room for ``least`` (RunInstances, MinCount).
    """
    fits = fitting(limit, instance_type, most)
    if fits < least:
        raise EC2ClientError(SHORT, shortage(instance_type, least, fits))
    return fits


def check(limit: Size | None, instance_types: list[str]) -> None:
    """Refuse a start of instances of these types where there is not room for all; raises as ``room`` does."""
    if limit is None or not instance_types:
        return
    left, sizes = _left(limit), [_size(one) for one in instance_types]
    if sum(size[0] for size in sizes) > left[0] or (limit[1] and sum(size[1] for size in sizes) > left[1]):
        raise EC2ClientError(
            SHORT,
            "We currently do not have sufficient capacity to start what was asked for (OBLAKO_EC2_CAPACITY).",
        )
