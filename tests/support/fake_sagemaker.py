"""A SageMaker in memory, for tests of what stands before it: no control plane, no engine, no network.

It has AWS's rules of status; each look at ``/notebooks`` takes what is under way one step further.
"""

from __future__ import annotations

import threading
from typing import Any

from oblako_magic.connection import Connection
from oblako_magic.errors import AwsError

ACCOUNT, REGION = "123456789012", "us-east-1"
_NEXT = {"Pending": "InService", "Stopping": "Stopped", "Updating": "Stopped", "Deleting": ""}


class FakeSageMaker:
    """What ``Notebooks`` needs of an ``Ec2``.

    ``calls`` notes the API actions; ``broken`` maps a notebook's name to the reason for which it ends Failed;
    ``refuse`` maps an action (or an action and a name) to the error that it shall raise; ``stuck`` names stay as they
    are.
    """

    def __init__(self) -> None:
        self.books: dict[str, dict[str, Any]] = {}
        self.configs: dict[str, dict[str, Any]] = {}
        self.roles: dict[str, str] = {}
        self.calls: list[tuple[str, str]] = []
        self.broken: dict[str, str] = {}
        self.refuse: dict[str | tuple[str, str], AwsError] = {}
        self.stuck: set[str] = set()
        self.requests: dict[str, dict[str, Any]] = {}
        self.links = 0
        self._lock = threading.Lock()

    def _aws(self, operation: str, *, service: str = "ec2", **arguments: Any) -> dict[str, Any]:
        name = arguments.get("NotebookInstanceName", arguments.get("NotebookInstanceLifecycleConfigName", ""))
        with self._lock:
            self.calls.append((operation, name))
            for key in (operation, (operation, name)):
                if key in self.refuse:
                    raise self.refuse[key]
            action: Any = getattr(self, f"_{service}_{operation}")
            return action(**arguments) or {}

    _look = Connection._look

    def _call(self, method: str, path: str, body: Any = None, *, timeout: float = 30) -> dict[str, Any]:
        assert (method, path.partition("?")[0]) == ("GET", "/notebooks")
        with self._lock:
            if "?" in path:
                for name, book in [*self.books.items()]:
                    self._step(name, book)
            return {"revision": 1, "notebooks": [dict(book) for book in self.books.values()]}

    def _rows(self, since: int | None = None, timeout: float = 0) -> tuple[int, dict[str, Any]]:
        further = [{"container_port": 8501, "host_port": 20500, "host": "127.0.0.1"}]
        machines = {
            book["machine"]: {
                "ports": [
                    {"container_port": 8888, "host_port": book["port"], "host": "127.0.0.1"},
                    *(further if "oblako:publish" in book["tags"] else []),
                ]
            }
            for book in self.books.values()
        }
        return 1, machines

    def _step(self, name: str, book: dict[str, Any]) -> None:
        after = _NEXT.get(book["status"])
        if name in self.stuck or after is None:
            return
        if after == "InService" and name in self.broken:
            book["status"], book["failure_reason"] = "Failed", self.broken[name]
            return
        book["status"], book["progress"] = after, ""
        book["url"] = f"http://127.0.0.1:{book['port']}/lab" if after == "InService" else ""
        if not after:
            del self.books[name]

    def put(self, name: str, status: str = "InService", **values: Any) -> None:
        """Put a notebook instance there."""
        number = len(self.books)
        book = {
            "name": name, "account": ACCOUNT, "region": REGION, "status": status, "failure_reason": "",
            "arn": f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:notebook-instance/{name}", "instance_type": "ml.t3.medium",
            "machine": f"i-{number:017x}", "container": f"oblako-ec2-i-{number:017x}", "port": 20000 + number,
            "url": f"http://127.0.0.1:{20000 + number}/lab" if status == "InService" else "",
            "image": "oblako/notebook:latest", "progress": "", "created": 1_790_000_000 + number, "tags": {},
            "lifecycle_config": "", "volume_size": 5,
        }  # fmt: skip
        self.books[name] = {**book, **values}

    def _book(self, name: str, *statuses: str) -> dict[str, Any]:
        book = self.books.get(name)
        if book is None:
            raise AwsError("ValidationException: RecordNotFound (fake)", "ValidationException")
        if statuses and book["status"] not in statuses:
            raise AwsError(
                f"ValidationException: Status ({book['status']}) not in ([{', '.join(statuses)}]). (fake)",
                "ValidationException",
            )
        return book

    # -- the actions ------------------------------------------------------------------------------

    def _iam_get_role(self, RoleName: str) -> dict[str, Any]:
        if RoleName not in self.roles:
            raise AwsError("NoSuchEntity: no role (GetRole)", "NoSuchEntity")
        return {"Role": {"Arn": self.roles[RoleName]}}

    def _iam_create_role(self, RoleName: str, Path: str, **_: Any) -> dict[str, Any]:
        self.roles[RoleName] = f"arn:aws:iam::{ACCOUNT}:role{Path}{RoleName}"
        return self._iam_get_role(RoleName)

    def _iam_put_role_policy(self, **_: Any) -> None: ...

    def _sagemaker_list_notebook_instances(self, **_: Any) -> dict[str, Any]:
        found = [
            {"NotebookInstanceName": name, "NotebookInstanceArn": book["arn"]}
            for name, book in sorted(self.books.items())
        ]
        return {"NotebookInstances": found}

    def _sagemaker_create_notebook_instance(self, NotebookInstanceName: str, **request: Any) -> dict[str, Any]:
        self.requests[NotebookInstanceName] = request
        self.put(
            NotebookInstanceName,
            "Pending",
            progress="starting JupyterLab",
            instance_type=request["InstanceType"],
            lifecycle_config=request.get("LifecycleConfigName", ""),
            volume_size=request["VolumeSizeInGB"],
            tags={tag["Key"]: tag["Value"] for tag in request.get("Tags", [])},
        )
        return {"NotebookInstanceArn": self.books[NotebookInstanceName]["arn"]}

    def _sagemaker_start_notebook_instance(self, NotebookInstanceName: str) -> None:
        self._book(NotebookInstanceName, "Stopped", "Failed")["status"] = "Pending"

    def _sagemaker_stop_notebook_instance(self, NotebookInstanceName: str) -> None:
        self._book(NotebookInstanceName, "InService")["status"] = "Stopping"

    def _sagemaker_delete_notebook_instance(self, NotebookInstanceName: str) -> None:
        self._book(NotebookInstanceName, "Stopped", "Failed")["status"] = "Deleting"

    def _sagemaker_update_notebook_instance(self, NotebookInstanceName: str, **request: Any) -> None:
        book = self._book(NotebookInstanceName, "Stopped", "Failed")
        self.requests[NotebookInstanceName] = request
        book["status"] = "Updating"
        book["instance_type"] = request.get("InstanceType", book["instance_type"])
        book["lifecycle_config"] = request.get("LifecycleConfigName", book["lifecycle_config"])
        if request.get("DisassociateLifecycleConfig"):
            book["lifecycle_config"] = ""

    def _sagemaker_create_presigned_notebook_instance_url(self, NotebookInstanceName: str) -> dict[str, Any]:
        self._book(NotebookInstanceName, "InService")
        self.links += 1
        return {"AuthorizedUrl": f"http://127.0.0.1:41234/_oblako/open/once-{self.links}"}

    def _sagemaker_describe_notebook_instance_lifecycle_config(
        self, NotebookInstanceLifecycleConfigName: str
    ) -> dict[str, Any]:
        if NotebookInstanceLifecycleConfigName not in self.configs:
            raise AwsError("ValidationException: no config (fake)", "ValidationException")
        return self.configs[NotebookInstanceLifecycleConfigName]

    def _sagemaker_create_notebook_instance_lifecycle_config(
        self, NotebookInstanceLifecycleConfigName: str, **request: Any
    ) -> None:
        self.configs[NotebookInstanceLifecycleConfigName] = request

    def _sagemaker_delete_notebook_instance_lifecycle_config(self, NotebookInstanceLifecycleConfigName: str) -> None:
        del self.configs[NotebookInstanceLifecycleConfigName]
