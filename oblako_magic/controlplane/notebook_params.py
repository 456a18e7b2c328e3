"""Checks a SageMaker request against the service's own model, as the service does before anything else."""

from __future__ import annotations

import functools
import re
from typing import Any

from moto.sagemaker.exceptions import ValidationError


@functools.cache
def _service() -> Any:
    import botocore.session

    return botocore.session.get_session().get_service_model("sagemaker")


def instance_types() -> list[str]:
    """All that InstanceType may be."""
    return list(_service().shape_for("InstanceType").enum)


def check(operation: str, params: dict[str, Any], *, leave: tuple[str, ...] = ()) -> None:
    """Refuse a request for its values.

    Parameters
    ----------
    operation : str
        Such as ``CreateNotebookInstance``.
    params : dict
        Its parameters.
    leave : tuple of str
        Parameters that are checked elsewhere.

    Raises
    ------
    ValidationError
        With the words of the service.
    """
    shape = _service().operation_model(operation).input_shape
    for name in shape.required_members:
        if params.get(name) is None:
            _refuse("null", name, "Member must not be null")
    for name, member in shape.members.items():
        if name not in leave and params.get(name) is not None:
            _check(member, params[name], name)


def _check(shape: Any, value: Any, name: str) -> None:
    if shape.type_name == "string":
        _check_text(shape, str(value), name)
    elif shape.type_name in ("integer", "long"):
        _check_number(shape, value, name)
    elif shape.type_name == "list":
        if len(value) > shape.metadata.get("max", len(value)):
            most = shape.metadata["max"]
            _refuse(value, name, f"Member must have length less than or equal to {most}")
        for number, item in enumerate(value, 1):
            _check(shape.member, item, f"{name}.{number}.member")
    elif shape.type_name == "structure" and isinstance(value, dict):
        for key in shape.required_members:
            if value.get(key) is None:
                _refuse("null", f"{name}.{key}", "Member must not be null")
        for key, member in shape.members.items():
            if value.get(key) is not None:
                _check(member, value[key], f"{name}.{key[:1].lower()}{key[1:]}")


def _check_text(shape: Any, value: str, name: str) -> None:
    if shape.enum and value not in shape.enum:
        _refuse(value, name, f"Member must satisfy enum value set: [{', '.join(shape.enum)}]")
    least, most = shape.metadata.get("min", 0), shape.metadata.get("max")
    if len(value) < least:
        _refuse(value, name, f"Member must have length greater than or equal to {least}")
    if most is not None and len(value) > most:
        _refuse(value, name, f"Member must have length less than or equal to {most}")
    pattern = shape.metadata.get("pattern")
    # Python knows no classes such as \\p{L}, which the patterns of tags have.
    if pattern and "\\p{" not in pattern and not re.fullmatch(pattern, value, re.DOTALL):
        _refuse(value, name, f"Member must satisfy regular expression pattern: {pattern}")


def _check_number(shape: Any, value: Any, name: str) -> None:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if least is not None and value < least:
        _refuse(value, name, f"Member must have value greater than or equal to {least}")
    if most is not None and value > most:
        _refuse(value, name, f"Member must have value less than or equal to {most}")


def _refuse(value: Any, name: str, constraint: str) -> None:
    where = name[:1].lower() + name[1:]
    raise ValidationError(
        message=f"1 validation error detected: Value '{value}' at '{where}' failed to satisfy constraint: {constraint}"
    )
