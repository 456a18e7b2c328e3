"""Notebook instances for people: boto3's ``sagemaker`` and the control plane's own rows behind one class.

What SageMaker's API has no field for (image, ports, environment, times) travels as tags of CreateNotebookInstance.
"""

from .client import Notebooks
from .handles import Embedded, Notebook, NotebookLink, NotebookList

__all__ = ["Embedded", "Notebook", "NotebookLink", "NotebookList", "Notebooks"]
