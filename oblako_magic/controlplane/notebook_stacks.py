"""AWS::SageMaker::NotebookInstance in CloudFormation: what moto leaves out of create, update and delete."""

from __future__ import annotations

from typing import Any


def settled(notebook: Any, failure: str = "") -> None:
    """Tell its stack, where it has one, that it is in service or never will be."""
