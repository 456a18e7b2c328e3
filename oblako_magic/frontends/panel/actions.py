"""What a click asks for, done in a worker thread; the answer, or one sentence that says why not, goes to the row."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ...errors import OblakoError
from ...handles import Instance, Orphan
from . import forms
from .following import Following
from .rows import Row, lost, own_tags

if TYPE_CHECKING:
    from ...cloud import Ec2
    from .hub import Hub

log = logging.getLogger(__name__)

VERBS = ("start", "stop", "reboot", "terminate")


class Actions:
    """The requests of one panel.

    Parameters
    ----------
    hub : Hub
    tell : callable
        Gets messages for the browser.
    """

    def __init__(self, hub: Hub, tell: Callable[[dict[str, Any]], None]) -> None:
        self._hub, self._tell = hub, tell
        self._clouds: dict[str, Ec2] = {}
        self._shells: dict[str, Any] = {}
        self._following: dict[tuple[str, str], Following] = {}
        self._handlers: dict[str, Callable[[Mapping[str, Any]], Any]] = {
            "change": self._change,
            "rename": self._rename,
            "lost": self._lost,
            "choices": self._choices,
            "preview": self._preview,
            "launch": self._launch,
            "like": self._like,
            "publish": self._publish,
            "unpublish": self._unpublish,
            "open": self._open,
            "follow": self._follow,
            "shell": self._shell,
            "orphan": self._orphan,
            "plane": self._plane,
        }

    def perform(self, content: Mapping[str, Any]) -> None:
        """Do what a message asks for and answer it; never raises.

        Parameters
        ----------
        content : mapping
            ``kind`` and ``request``, a number that goes back with the answer, and what the kind needs.
        """
        answer: dict[str, Any] = {"kind": "reply", "request": content.get("request")}
        try:
            handler = self._handlers.get(str(content.get("kind")))
            if handler is None:
                raise OblakoError(f"the panel's kernel side knows no {content.get('kind')!r}; restart the kernel.")
            answer["value"] = handler(content)
        except OblakoError as error:
            answer["error"] = " ".join(str(error).split())
        except (KeyError, TypeError, ValueError) as error:
            log.exception("the panel's message %r", content.get("kind"))
            answer["error"] = f"internal error, {type(error).__name__}: {error}."
        self._tell(answer)

    def close(self) -> None:
        """Stop what is followed."""
        following, self._following = self._following, {}
        for one in following.values():
            one.stop()
        shells, self._shells = self._shells, {}
        for shell in shells.values():
            shell.close()

    # -- instances ----------------------------------------------------------------------------------

    def _row(self, key: str) -> Row:
        row = self._hub.rows().get(key)
        if row is None:
            raise OblakoError(f"{key} is gone.")
        return row

    def _cloud(self, region: str = "") -> Ec2:
        """The cloud in a region, by a connection that says that it is the panel who asks."""
        own = self._hub.ec2
        region = region or own.region
        if region not in self._clouds:
            cloud = type(own)(own.settings, region=region)
            cloud.front_end = "panel"
            self._clouds[region] = cloud
        return self._clouds[region]

    def _machine(self, key: str) -> tuple[Ec2, Instance]:
        row = self._row(key)
        ec2 = self._cloud(row["region"])
        machine = Instance(row.get("machine") or key, region=row["region"], ec2=ec2)
        machine.state, machine.name, machine.backed = row["state"], row["name"], row["backed"]
        machine.impaired, machine.impairment = bool(row["impaired"]), row["impaired"]
        if row["kind"] == "notebook" and row["state"] == "InService":
            machine.state = "running"
        return ec2, machine

    def _change(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """Start, stop, reboot or terminate; an error of one must not keep the others from it."""
        action = content["action"]
        if action not in VERBS:
            raise OblakoError(f"there is no action {action!r}.")
        errors: dict[str, str] = {}
        regions: dict[str, list[str]] = {}
        for key in content["ids"]:
            row = self._hub.rows().get(key)
            if row is None:
                errors[key] = "it is gone."
            elif row["kind"] == "notebook":
                try:
                    self._notebook(action, row)
                except OblakoError as error:
                    errors[key] = " ".join(str(error).split())
            else:
                regions.setdefault(row["region"], []).append(key)
        for region, keys in regions.items():
            ec2 = self._cloud(region)
            try:
                ec2.change(action, [Instance(key, region=region, ec2=ec2) for key in keys], wait=False)
            except OblakoError as error:
                if len(keys) == 1:
                    errors[keys[0]] = " ".join(str(error).split())
                    continue
                # AWS refuses them all for one: one by one, the sentence comes to the row that it is about.
                for key in keys:
                    try:
                        ec2.change(action, [Instance(key, region=region, ec2=ec2)], wait=False)
                    except OblakoError as own:
                        errors[key] = " ".join(str(own).split())
        self._hub.figures.refresh()
        return {"errors": errors}

    def _notebook(self, action: str, row: Row) -> None:
        if action == "reboot":
            raise OblakoError("a notebook instance can't be rebooted; stop it and start it.")
        notebooks = self._cloud(row["region"]).notebooks
        notebooks.change(action, [notebooks.get(row["name"])], wait=False)  # type: ignore[arg-type]

    def _rename(self, content: Mapping[str, Any]) -> None:
        ec2, machine = self._machine(content["id"])
        ec2.rename(machine, str(content["name"]).strip())

    def _lost(self, content: Mapping[str, Any]) -> list[str]:
        rows = self._hub.rows()
        return [lost(rows[key]) for key in content["ids"] if key in rows]

    # -- launch -------------------------------------------------------------------------------------

    def _choices(self, content: Mapping[str, Any]) -> dict[str, Any]:
        ec2 = self._cloud()
        return {"images": ec2.images(), **ec2.launch_choices()}

    def _preview(self, content: Mapping[str, Any]) -> dict[str, str]:
        return {"magic": forms.magic(content["form"]), "boto3": forms.boto3_code(content["form"])}

    def _launch(self, content: Mapping[str, Any]) -> list[str]:
        wanted = forms.arguments(content["form"])
        return self._cloud().run(**wanted, wait=False).ids

    def _like(self, content: Mapping[str, Any]) -> dict[str, Any]:
        row = self._row(content["id"])
        if row["kind"] != "instance":
            raise OblakoError("a notebook instance is made again with %ec2 notebook run.")
        ec2, machine = self._machine(content["id"])
        data = ec2.user_data_of(machine) if row["user_data"] else ""
        return forms.form_of(row, data, own_tags(row["tags"]))

    # -- ports and texts ----------------------------------------------------------------------------

    def _publish(self, content: Mapping[str, Any]) -> str:
        ec2, machine = self._machine(content["id"])
        host, _, port = str(content["port"]).strip().rpartition(":")
        return ec2.publish(machine, int(port), int(host) if host else None).url

    def _unpublish(self, content: Mapping[str, Any]) -> None:
        ec2, machine = self._machine(content["id"])
        ec2.unpublish(machine, int(content["port"]))

    def _open(self, content: Mapping[str, Any]) -> str:
        """The link that opens a notebook instance's lab, once (CreatePresignedNotebookInstanceUrl)."""
        row = self._row(content["id"])
        notebooks = self._cloud(row["region"]).notebooks
        return notebooks.link(notebooks.get(row["name"])).url

    def _follow(self, content: Mapping[str, Any]) -> None:
        key, what = str(content["id"]), "console" if content["what"] == "console" else "logs"
        old = self._following.pop((key, what), None)
        if old is not None:
            old.stop()
        if content["on"]:
            ec2, machine = self._machine(key)
            self._following[key, what] = Following(ec2, machine, what, key, self._tell)

    def _shell(self, content: Mapping[str, Any]) -> str:
        """Open a shell, or end one of those that are open; the id of its widget's model, which the browser shows."""
        if "end" in content:
            old = self._shells.pop(str(content["end"]), None)
            if old is not None:
                old.close()
            return ""
        ec2, machine = self._machine(str(content["id"]))
        shell = ec2.shell(machine)
        self._shells[str(shell.model_id)] = shell
        return str(shell.model_id)

    # -- health -------------------------------------------------------------------------------------

    def _orphan(self, content: Mapping[str, Any]) -> None:
        orphan = Orphan(content["what"], content["name"], "", "", False)
        if content["action"] == "adopt":
            self._cloud().adopt(orphan)
        else:
            self._cloud().remove(orphan)
        self._hub.figures.refresh()

    def _plane(self, content: Mapping[str, Any]) -> None:
        self._hub.ec2.start(wait=True)
        self._hub.figures.refresh()
