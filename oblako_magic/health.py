"""What ``doctor`` looks at, each with its next step."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from . import environment, names
from .errors import EngineError, OblakoError
from .handles import Check, Orphan, Report

if TYPE_CHECKING:
    from .cloud import Ec2

_LITTLE = 1 << 30


def report(ec2: Ec2) -> Report:
    """Look at everything; nothing is changed and nothing is started."""
    checks = [_control_plane(ec2)]
    if ec2.settings.endpoint:  # all else is where that one runs
        return Report([*checks, *([_instances(ec2)] if checks[0].ok else []), _clients(ec2)], [])
    engine, orphans = _engine(ec2), list[Orphan]()
    checks.append(engine)
    if engine.ok:
        checks += [_image(ec2), _notebook_image(ec2)]
    if checks[0].ok:
        try:
            orphans = ec2.orphans()
        except OblakoError as error:
            checks.append(Check("orphans", False, str(error), "see the engine above"))
        checks.append(_instances(ec2))
    checks.append(_disk(ec2))
    checks.append(_clients(ec2))
    return Report(checks, orphans)


def _control_plane(ec2: Ec2) -> Check:
    try:
        status = ec2.status()
    except OblakoError as error:
        return Check("control plane", False, str(error), "oblako down && oblako up")
    if ec2.settings.endpoint:
        if status.running:
            return Check("control plane", True, f"version {status.version} at {status.endpoint}, elsewhere")
        return Check("control plane", False, f"{status.endpoint} does not answer", "oblako up, where it runs")
    if not status.running:
        return Check("control plane", False, f"does not run; its state is in {status.state_dir}", "oblako up")
    if status.notices:
        return Check(
            "control plane",
            False,
            " ".join(status.notices),
            "look at what was rebuilt with %ec2 ls; oblako down && oblako up clears the notice",
        )
    return Check("control plane", True, f"version {status.version} at {status.endpoint}, process {status.pid}")


def _engine(ec2: Ec2) -> Check:
    try:
        return Check("engine", True, ec2.engine().title)
    except EngineError as error:
        sentence, _, step = str(error).rstrip(".").rpartition("; ")
        return Check("engine", False, sentence or step, step or "start a container engine")


def _image(ec2: Ec2) -> Check:
    from .engine import images

    name = ec2.settings.image or names.DEFAULT_IMAGE
    try:
        engine = ec2.engine()
        if images.local(engine, name):
            return Check("image", True, f"{name} is here")
        if not ec2.settings.image and images.local(engine, names.BASE_IMAGE):
            return Check(
                "image", True, f"{name} is not here yet; where it can't be pulled {names.BASE_IMAGE} stands in"
            )
    except EngineError as error:
        return Check("image", False, str(error), "see the engine above")
    return Check("image", True, f"{name} is not here; the first launch pulls it (or build one: oblako image build)")


def _notebook_image(ec2: Ec2) -> Check:
    """Whether the image of notebook instances is here, and has this very package in it."""
    from .engine import images, package

    name, title = ec2.settings.notebook_image or names.NOTEBOOK_IMAGE, "notebook image"
    step = images.build_command("notebook")
    try:
        found = images.local(ec2.engine(), name)
    except EngineError as error:
        return Check(title, False, str(error), "see the engine above")
    if found is None:
        step = step if name == names.NOTEBOOK_IMAGE else "the first one pulls it"
        return Check(title, True, f"{name} is not here; notebook instances need it ({step})")
    if found.stale:
        sentence, _, _ = found.stale.partition("; ")
        return Check(title, False, sentence, f"{step} --force")
    if names.LABEL_VERSION not in found.labels:  # the user's own choice
        return Check(title, True, f"{name} is here")
    built = found.labels.get(names.LABEL_BUILT, "some day")
    if found.labels.get(names.LABEL_SOURCE, package.digest()) != package.digest():
        return Check(title, True, f"{name}, built {built} from other files of this version ({step} --force)")
    return Check(title, True, f"{name}, built {built} by this version")


def _instances(ec2: Ec2) -> Check:
    try:
        bad = [instance for instance in ec2.instances() if instance.impaired]
    except OblakoError as error:
        return Check("instances", False, str(error), "oblako status")
    if bad:
        return Check(
            "instances",
            False,
            "; ".join(f"{i.label} is impaired: {i.impairment}" for i in bad),
            f"%ec2 start {bad[0].id}",
        )
    return Check("instances", True, "none is impaired")


def _disk(ec2: Ec2) -> Check:
    folder = ec2.settings.state_dir
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    detail = f"{free / (1 << 30):.1f} GiB free for {ec2.settings.state_dir}"
    return Check(
        "disk", free > _LITTLE, detail, "" if free > _LITTLE else "free some space: the state is saved at every change"
    )


def _clients(ec2: Ec2) -> Check:
    variable = environment.SERVICES["EC2"]
    value = os.environ.get(variable)
    if value == ec2.endpoint_url:
        return Check("clients", True, f"boto3 and aws here use {value}")
    where = f"{variable} is {value}" if value else f"{variable} is not set"
    # No fault: a terminal that never asked for it is as it should be.
    return Check(
        "clients", True, f'{where}: aws and boto3 here do not use this endpoint (eval "$(oblako env)", or %ec2 env on)'
    )
