"""UpdateStack as CloudFormation does it: all of it or nothing, and what goes, goes last.

Moto deletes what an update leaves out before it does anything else, is done at once, and stays half-way at an error.
Here an update is complete when its instances run; only then is deleted what they replace and what the template no
longer has (the clean-up of CloudFormation's user guide). When a resource can't be had, all of it is as before.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from . import rollback

log = logging.getLogger(__name__)

REPLACES = "oblako_replaces"
"""Attribute of a new resource: the one that goes when the update is complete."""
_BEFORE = "oblako_before"
"""Attribute of a stack that is being updated: its template and parameters of before."""
_LEFT_OUT = "oblako_left_out"
"""Attribute of a stack's resource map: (logical id, resource, its part of the template) that goes in the end."""


@dataclass(frozen=True)
class Kind:
    """What a stack has to know of resources that are not there at once.

    Parameters
    ----------
    waits : callable
        Whether the stack has to wait for a resource.
    drop : callable
        Deletes one for good.
    """

    waits: Callable[[Any], bool]
    drop: Callable[[Any], None]


KINDS: dict[type, Kind] = {}
"""By the class of the resource."""


def _kind(resource: Any) -> Kind | None:
    return next((kind for cls, kind in KINDS.items() if isinstance(resource, cls)), None)


def _resources(stack: Any) -> Iterator[tuple[Any, Kind]]:
    """The stack's resources that can be waited for; beside them moto keeps the values of the parameters."""
    for resource in stack.resource_map._parsed_resources.values():
        kind = _kind(resource)
        if kind is not None:
            yield resource, kind


def _waits(stack: Any) -> bool:
    """Whether the stack has an instance that does not run yet, or a notebook instance that is not in service."""
    return any(kind.waits(resource) for resource, kind in _resources(stack))


def _take_replaced(resource: Any) -> Any:
    """What a resource replaces, which it then no longer does; None where that is nothing."""
    return vars(resource).pop(REPLACES, None)


def retire(resource: Any) -> None:
    """Delete what the resource has replaced."""
    old = _take_replaced(resource)
    if old is not None:
        retire(old)
        kind = _kind(old)
        assert kind is not None
        kind.drop(old)


def failed(stack: Any, resource: Any, failure: str) -> bool:
    """A resource of the stack that it waits for can't be had.

    Parameters
    ----------
    stack : moto.cloudformation.models.Stack
    resource : object
    failure : str

    Returns
    -------
    bool
        Whether other resources have been taken back or changed.
    """
    if all(one is not resource for one, _ in _resources(stack)):
        return False  # it is no longer the stack's
    if stack.status == "CREATE_IN_PROGRESS":
        rollback.create_failed(stack, resource, failure)
    elif stack.status == "UPDATE_IN_PROGRESS":
        _roll_back(stack, resource, failure)
    elif stack.status == "UPDATE_ROLLBACK_IN_PROGRESS":
        rollback.fail(stack, "UPDATE_ROLLBACK_FAILED", failure)
    else:
        return False
    return True


def complete(stack: Any) -> bool:
    """A resource that the stack waited for is there; it may have been the last one.

    Returns
    -------
    bool
        Whether other resources have been deleted.
    """
    if stack.status == "CREATE_IN_PROGRESS":
        stack.verify_readiness()
    elif stack.status in ("UPDATE_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS") and not _waits(stack):
        stack.status = stack.status.replace("IN_PROGRESS", "COMPLETE")
        stack._add_stack_event(stack.status)
        clean_up(stack)
        return True
    return False


# -- what goes in the end ---------------------------------------------------------------------------------


def clean_up(stack: Any) -> None:
    """Delete what the stack no longer has; what can't be deleted is left behind, as by CloudFormation."""
    vars(stack).pop(_BEFORE, None)
    for resource, _ in list(_resources(stack)):
        retire(resource)
    left = vars(stack.resource_map).pop(_LEFT_OUT, [])
    while left:
        # One may be in the way of another; once nothing goes any more, the rest stays.
        staying = [one for one in left if not _is_deleted(stack, *one)]
        if len(staying) == len(left):
            break
        left = staying


def _is_deleted(stack: Any, logical_id: str, resource: Any, template: dict[str, Any]) -> bool:
    if template.get("DeletionPolicy") == "Retain":
        return True
    if _kind(resource) is not None:
        retire(resource)
    try:
        stack.resource_map._delete_resource(resource, template)
    except Exception:
        log.warning("%s of the stack %s can't be deleted and is left", logical_id, stack.name, exc_info=True)
        return False
    return True


def _keep_back(original: Callable[..., None]) -> Callable[..., None]:
    """Lay it over ResourceMap.update: what the new template leaves out is kept for the clean-up."""

    @functools.wraps(original)
    def update(self: Any, template: dict[str, Any], parameters: dict[str, Any] | None = None) -> None:
        now: dict[str, Any] = self._resource_json_map
        left_out = vars(self).setdefault(_LEFT_OUT, [])
        for name in now.keys() - template["Resources"].keys():
            if name in self._parsed_resources:
                left_out.append((name, self._parsed_resources.pop(name), now[name]))
        self._resource_json_map = {name: one for name, one in now.items() if name in template["Resources"]}
        original(self, template, parameters)

    return update


# -- nothing of it ----------------------------------------------------------------------------------------


def _roll_back(stack: Any, resource: Any, reason: str) -> None:
    """Bring the stack back to what it was before the update; what that made goes with the clean-up."""
    logical_id = rollback.resource_failed(stack, resource, reason, "UPDATE_FAILED")
    text = f"The following resource(s) failed to update: [{logical_id}]. {reason}" if logical_id else reason
    rollback.fail(stack, "UPDATE_ROLLBACK_IN_PROGRESS", text)
    try:
        _restore(stack, *vars(stack)[_BEFORE])
    except Exception as error:
        log.warning("the update of the stack %s can't be rolled back", stack.name, exc_info=True)
        rollback.fail(stack, "UPDATE_ROLLBACK_FAILED", getattr(error, "message", None) or str(error))
        return
    complete(stack)


def _restore(stack: Any, template: str, parameters: dict[str, Any]) -> None:
    from moto.cloudformation.parsing import get_references_from_template

    stack.template = template
    stack._parse_template()
    mapped, before = stack.resource_map, stack.template_dict["Resources"]
    # A resource that was made needs its part of the template to be deleted.
    now, known = dict(mapped._resource_json_map), mapped._parsed_resources
    left_out: list[tuple[str, Any, dict[str, Any]]] = []
    for name, resource in list(known.items()):
        old = _take_replaced(resource) if _kind(resource) is not None else None
        if old is not None:
            left_out.append((name, resource, now[name]))
            known[name], now[name] = old, before[name]
    for name, resource, _ in vars(mapped).pop(_LEFT_OUT, []):
        known[name], now[name] = resource, before[name]
    # Moto's own update brings back the rest; what differs by its parameters alone it would not see.
    changed = {
        key
        for key in {*mapped.input_parameters, *parameters}
        if mapped.input_parameters.get(key) != parameters.get(key)
    }
    for name, one in before.items():
        if now.get(name) == one and name in known and changed.intersection(get_references_from_template(one)):
            now[name] = {**one, _BEFORE: True}
    for name in mapped.resolved_parameters.keys() - (stack.template_dict.get("Parameters") or {}).keys():
        del mapped.resolved_parameters[name]
        known.pop(name, None)
    mapped._resource_json_map, mapped.input_parameters = now, parameters
    setattr(mapped, _LEFT_OUT, left_out)
    mapped.update(stack.template_dict)
    stack.parameters, stack.output_map = parameters, stack._create_output_map()


# -- moto's two ways to update a stack --------------------------------------------------------------------


def _begin(stack: Any) -> int:
    """Refuse what may not be updated now; the number of its events."""
    from moto.cloudformation.exceptions import ValidationError

    if stack.status in ("UPDATE_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS"):
        raise ValidationError(message=f"Stack:{stack.stack_id} is in {stack.status} state and can not be updated.")
    setattr(stack, _BEFORE, (stack.template, dict(stack.parameters)))
    return len(stack.events)


def _broken_off(stack: Any, error: Exception, events: int) -> None:
    """The update has come to an error: refused ones never happened, others are rolled back.

    Raises
    ------
    Exception
        The error, where it is the template's and UpdateStack itself is answered with it.
    """
    if not rollback.is_refused(error):
        log.warning("the update of the stack %s fails", stack.name, exc_info=error)
        _roll_back(stack, None, rollback.reason_of(error))
        return
    status = stack.status
    try:
        _restore(stack, *vars(stack)[_BEFORE])
    except Exception:
        log.warning("what the update of the stack %s has changed can't all be taken back", stack.name, exc_info=True)
    clean_up(stack)
    stack.status = status
    del stack.events[events:]
    raise error


def _hold_back(stack: Any, kind: str) -> None:
    """Moto says that it is complete; it is when nothing is waited for."""
    if stack.status != f"{kind}_COMPLETE":
        return
    if _waits(stack):
        stack.events.pop()
        stack.status = f"{kind}_IN_PROGRESS"
    elif kind == "UPDATE":
        clean_up(stack)


def _update_stack(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def update(self: Any, *args: Any, **kwargs: Any) -> None:
        events = _begin(self)
        try:
            original(self, *args, **kwargs)
        except Exception as error:
            _broken_off(self, error, events)
            return
        _hold_back(self, "UPDATE")

    return update


def _execute_change_set(original: Callable[..., None]) -> Callable[..., None]:
    """Change sets go past the methods of the stack."""

    @functools.wraps(original)
    def execute_change_set(self: Any, change_set_name: str, stack_name: str | None = None) -> None:
        named = (
            one for one in self.change_sets.values() if change_set_name in (one.change_set_id, one.change_set_name)
        )
        change_set: Any = next(named, None)
        stack = self.stacks.get(getattr(change_set, "stack_id", ""))
        is_update = stack is not None and change_set.change_set_type == "UPDATE"
        events = _begin(stack) if is_update else 0
        try:
            original(self, change_set_name, stack_name)
        except Exception as error:
            if is_update:
                change_set.execution_status = "EXECUTE_FAILED"
                _broken_off(stack, error, events)
            elif not rollback.change_set_failed(change_set, stack, error):
                raise
            return
        stack._parse_template()
        _hold_back(stack, change_set.change_set_type)

    return execute_change_set


def install() -> None:
    """Lay the rules over CloudFormation once moto has loaded it."""
    from moto.cloudformation.models import CloudFormationBackend, Stack
    from moto.cloudformation.parsing import ResourceMap

    rules: list[tuple[type, str, Any]] = [
        (ResourceMap, "update", _keep_back(ResourceMap.update)),
        (Stack, "update", _update_stack(Stack.update)),
        (CloudFormationBackend, "execute_change_set", _execute_change_set(CloudFormationBackend.execute_change_set)),
    ]
    for owner, name, rule in rules:
        setattr(owner, name, rule)
