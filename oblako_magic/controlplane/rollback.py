"""A stack whose creation fails takes back what it has made, as OnFailure says (CloudFormation, CreateStack).

Moto lets the error out of CreateStack and leaves the stack and its resources as they are.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

from moto.core.responses import ActionResult

log = logging.getLogger(__name__)

_ON_FAILURE = "oblako_on_failure"
"""Attribute of a stack: ``ROLLBACK``, ``DELETE`` or ``DO_NOTHING``."""


def fail(stack: Any, status: str, reason: str) -> None:
    """Bring a stack to a status, with the reason in its record and its events."""
    stack._add_stack_event(status, resource_status_reason=reason)
    stack.status, stack.status_reason = status, reason


def _logical_id(stack: Any, resource: Any) -> str:
    """The resource's name in the template; without a resource, the first one that was not made."""
    mapped = stack.resource_map
    if resource is None:
        return next((name for name in mapped._resource_json_map if name not in mapped._parsed_resources), "")
    return next((name for name, one in mapped._parsed_resources.items() if one is resource), "")


def resource_failed(stack: Any, resource: Any, reason: str, status: str) -> str:
    """Say it in the stack's events; the resource's logical id."""
    from moto.cloudformation.models import Event

    logical_id = _logical_id(stack, resource)
    event: Any = Event(
        stack_id=stack.stack_id,
        stack_name=stack.name,
        logical_resource_id=logical_id,
        physical_resource_id=getattr(stack.resource_map._parsed_resources.get(logical_id), "physical_resource_id", ""),
        resource_type=stack.resource_map._resource_json_map.get(logical_id, {}).get("Type", ""),
        resource_status=status,
        resource_status_reason=reason,
        resource_properties=None,
    )
    event.sendToSns(stack.account_id, stack.region_name, stack.notification_arns)
    stack.events.append(event)
    return logical_id


def _forget_outputs(stack: Any) -> None:
    """Leave in the stack what it has: moto makes a resource that it does not find, also when it only describes it."""
    mapped = stack.resource_map
    made = {key: one for key, one in mapped._resource_json_map.items() if key in mapped._parsed_resources}
    mapped._resource_json_map = made
    stack.template_dict = {**stack.template_dict, "Resources": made, "Outputs": {}}
    stack.output_map = stack._create_output_map()
    exports = _backend(stack).exports
    for name in [name for name, export in exports.items() if export.exporting_stack_id == stack.stack_id]:
        del exports[name]


def _backend(stack: Any) -> Any:
    from moto.cloudformation.models import cloudformation_backends

    return cloudformation_backends[stack.account_id][stack.region_name]


def create_failed(stack: Any, resource: Any, reason: str) -> None:
    """A resource of a stack that is being created can't be had.

    Parameters
    ----------
    stack : moto.cloudformation.models.Stack
    resource : object or None
        None where it was not even made.
    reason : str
    """
    logical_id = resource_failed(stack, resource, reason, "CREATE_FAILED")
    _forget_outputs(stack)
    how = vars(stack).get(_ON_FAILURE, "ROLLBACK")
    text = f"The following resource(s) failed to create: [{logical_id}]. {reason}"
    if how == "DO_NOTHING":
        fail(stack, "CREATE_FAILED", text)
        return
    doing, done = ("DELETE", "DELETE_COMPLETE") if how == "DELETE" else ("ROLLBACK", "ROLLBACK_COMPLETE")
    fail(stack, f"{doing}_IN_PROGRESS", text)
    try:
        stack.resource_map.delete()
    except Exception as error:
        log.warning("the stack %s can't be taken back", stack.name, exc_info=True)
        fail(stack, f"{doing}_FAILED", getattr(error, "message", None) or str(error))
        return
    _forget_outputs(stack)
    fail(stack, done, text)
    if how == "DELETE":
        backend = _backend(stack)
        backend.deleted_stacks[stack.stack_id] = backend.stacks.pop(stack.stack_id)


def _discard(stack: Any) -> None:
    """Nobody was told of this stack."""
    _forget_outputs(stack)
    try:
        stack.resource_map.delete()
    except Exception:
        log.warning("what the stack %s has made can't all be taken back", stack.name, exc_info=True)
    _backend(stack).stacks.pop(stack.stack_id, None)


def is_refused(error: Exception) -> bool:
    """Whether it is the template's fault, which CreateStack itself is answered with."""
    from moto.cloudformation.exceptions import CloudFormationError, UnformattedGetAttTemplateException

    return isinstance(error, CloudFormationError | UnformattedGetAttTemplateException)


def reason_of(error: Exception) -> str:
    """What a resource's event says of an error."""
    text = getattr(error, "message", None) or str(error)
    return str(text) if hasattr(error, "message") else f"{type(error).__name__}: {text}"


def _on_failure(request: Any) -> str:
    """OnFailure or DisableRollback of CreateStack."""
    from moto.cloudformation.exceptions import ValidationError

    given, disabled = request._get_param("OnFailure"), request._get_param("DisableRollback")
    if given and disabled is not None:
        raise ValidationError(message="You can specify either DisableRollback or OnFailure, but not both.")
    if given not in (None, "ROLLBACK", "DELETE", "DO_NOTHING"):
        raise ValidationError(message=f"Value '{given}' at 'onFailure' failed to satisfy constraint.")
    return given or ("DO_NOTHING" if str(disabled).lower() == "true" else "ROLLBACK")


def create_stack(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Lay it over the request: a stack that is part of another one fails with that."""

    @functools.wraps(original)
    def create(self: Any) -> Any:
        backend, how = self.cloudformation_backend, _on_failure(self)
        before = set(backend.stacks)
        try:
            answer = original(self)
        except Exception as error:
            new = [stack for key, stack in backend.stacks.items() if key not in before]
            stack = next((one for one in new if one.name == self._get_param("StackName")), None)
            for other in new:
                if other is not stack or is_refused(error):
                    _discard(other)
            if stack is None or is_refused(error):
                raise
            log.warning("the stack %s fails", stack.name, exc_info=True)
            answer = ActionResult({"StackId": stack.stack_id})
            _remember(stack, how)
            create_failed(stack, None, reason_of(error))
            return answer
        _remember(backend.stacks[answer.result["StackId"]], how)
        return answer

    return create


def _remember(stack: Any, how: str) -> None:
    setattr(stack, _ON_FAILURE, how)
    stack.disable_rollback = how == "DO_NOTHING"


def change_set_failed(change_set: Any, stack: Any, error: Exception) -> bool:
    """The same for a change set that creates its stack; False where the error is to be answered."""
    if change_set is None or change_set.change_set_type != "CREATE" or is_refused(error):
        return False
    log.warning("the stack %s fails", stack.name, exc_info=True)
    change_set.execution_status = "EXECUTE_FAILED"
    create_failed(stack, None, reason_of(error))
    return True
