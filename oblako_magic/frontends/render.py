"""Results as HTML and as plain text. Pure; strings in, strings out.

HTML is styled inline with the CSS variables of VS Code, else JupyterLab's, and a fallback for each, so that a table
looks right in a dark theme and still looks like one in a saved page. VS Code's come first: its widgets bring a light
set of JupyterLab's along, whatever its theme. Everything that comes from outside is escaped here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING

from ..names import TAG_PREFIX

if TYPE_CHECKING:
    from ..handles import Check, Instance, Orphan, Report, Stats, Status
    from ..model import PortMapping

COLOURS: Mapping[str, str] = {
    "running": "var(--vscode-charts-green, var(--jp-success-color1, #388e3c))",
    "pending": "var(--vscode-editorWarning-foreground, var(--jp-warn-color1, #f57c00))",
    "stopping": "var(--vscode-editorWarning-foreground, var(--jp-warn-color1, #f57c00))",
    "shutting-down": "var(--vscode-editorWarning-foreground, var(--jp-warn-color1, #f57c00))",
    "stopped": "var(--vscode-descriptionForeground, var(--jp-ui-font-color2, #757575))",
    "terminated": "var(--vscode-disabledForeground, var(--jp-ui-font-color3, #9e9e9e))",
}
WRONG = "var(--vscode-editorError-foreground, var(--jp-error-color1, #d32f2f))"
_FAINT = "color: var(--vscode-descriptionForeground, var(--jp-ui-font-color2, #757575));"
_BOX = (
    "font-family: var(--vscode-font-family, var(--jp-ui-font-family, system-ui, sans-serif)); "
    "font-size: var(--vscode-font-size, var(--jp-ui-font-size1, 13px));"
)
_CELL = "text-align: left; padding: 3px 12px 3px 0; vertical-align: top; white-space: nowrap;"
_RULE = "border-bottom: 1px solid var(--vscode-panel-border, var(--jp-border-color2, #e0e0e0));"
_CODE = "font-family: var(--vscode-editor-font-family, var(--jp-code-font-family, monospace));"
_LINK = "color: var(--vscode-textLink-foreground, var(--jp-content-link-color, #1976d2));"


class Html(str):
    """Text that is HTML already; everything else is escaped."""


def html(value: object) -> Html:
    """A value as HTML."""
    return value if isinstance(value, Html) else Html(escape(str(value)))


# -- building blocks ---------------------------------------------------------------------------------------


def table_html(
    headers: Sequence[str], rows: Iterable[Sequence[object]], *, kind: str = "table", below: Sequence[str] = ()
) -> Html:
    """A table, with lines below it; what isn't :class:`Html` is escaped."""
    head = "".join(
        f'<th scope="col" style="{_CELL} {_RULE} font-weight: 600;">{html(header)}</th>' for header in headers
    )
    body = "".join("<tr>" + "".join(f'<td style="{_CELL}">{html(cell)}</td>' for cell in row) + "</tr>" for row in rows)
    return Html(
        f'<table class="oblako-{kind}" style="{_BOX} border-collapse: collapse; margin: 0;">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        + "".join(f'<div style="{_BOX} {_FAINT} padding: 2px 0;">{html(line)}</div>' for line in below)
    )


def table_text(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table with aligned columns, without lines; control characters can't break it."""
    cells = [[_plain(cell) for cell in row] for row in [headers, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headers))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join(lines)


def pairs_html(title: Html, pairs: Iterable[tuple[str, object]], *, kind: str = "card") -> Html:
    """A heading and a table of names and values."""
    rows = "".join(
        f'<tr><th scope="row" style="{_CELL} {_FAINT} font-weight: normal;">{html(name)}</th>'
        f'<td style="{_CELL} white-space: normal;">{html(value)}</td></tr>'
        for name, value in pairs
    )
    return Html(
        f'<div class="oblako-{kind}" style="{_BOX}"><div style="padding-bottom: 4px;">{title}</div>'
        f'<table style="border-collapse: collapse; margin: 0;"><tbody>{rows}</tbody></table></div>'
    )


def pairs_text(title: str, pairs: Iterable[tuple[str, object]]) -> str:
    """A heading and lines of names and values."""
    listed = [(name, _plain(value)) for name, value in pairs]
    width = max((len(name) for name, _ in listed), default=0)
    return "\n".join([_plain(title), *(f"  {name.ljust(width)}  {value}".rstrip() for name, value in listed)])


def link(url: str, text: str) -> Html:
    """A link that opens beside the notebook."""
    return Html(f'<a href="{escape(url)}" target="_blank" rel="noopener noreferrer" style="{_LINK}">{escape(text)}</a>')


def progress_html(text: str) -> str:
    """The line of a wait."""
    return f'<span class="oblako-progress" style="{_BOX} {_FAINT}">{escape(text)}</span>'


def faint_html(text: str) -> Html:
    """A remark, or that there is nothing."""
    return Html(f'<span style="{_BOX} {_FAINT}">{escape(text)}</span>')


def pre_html(text: str) -> Html:
    """Text as it is."""
    return Html(f'<pre style="{_CODE} margin: 0; white-space: pre-wrap;">{escape(text)}</pre>')


def size(count: float) -> str:
    """A number of bytes for people: ``1.5 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def _plain(value: object) -> str:
    return "".join(char if char.isprintable() else " " for char in str(value))


# -- instances ---------------------------------------------------------------------------------------------


def state_html(state: str, *, wrong: bool = False) -> Html:
    """A state with its coloured dot; the word is there for those who don't see colours."""
    colour = WRONG if wrong else COLOURS.get(state, COLOURS["stopped"])
    return Html(f'<span style="color: {colour};" aria-hidden="true">●</span> {escape(state)}')


def state_text(instance: Instance) -> str:
    """The state and what is odd about it."""
    marks = [word for word, on in (("simulated", not instance.backed), ("impaired", instance.impaired)) if on]
    return instance.state + (f" ({', '.join(marks)})" if marks else "")


def port_text(port: PortMapping) -> str:
    """A published port: ``127.0.0.1:20000->80``."""
    return f"{port.host}:{port.host_port or '?'}->{port.container_port}"


def _port_html(port: PortMapping) -> Html:
    return link(port.url, port_text(port)) if port.host_port else html(port_text(port))


def remark(instance: Instance) -> str:
    """The one thing worth saying about an instance in a table."""
    failed = f"user data {instance.user_data}" if instance.user_data.startswith("failed") else ""
    # That its user stopped it is no news.
    told = instance.state in {"stopped", "terminated"} and instance.reason_code != "Client.UserInitiatedShutdown"
    reason = instance.reason if told else ""
    return instance.progress or instance.impairment or failed or reason or instance.note


def remarks(instances: Sequence[Instance]) -> list[str]:
    """The remarks on the instances of a table, each said once, with the names of those that it is about."""
    about: dict[str, list[str]] = {}
    for machine in instances:
        text = remark(machine)
        if text:
            about.setdefault(text, []).append(machine.name or machine.id)
    return [f"{few(list(dict.fromkeys(whom)))}: {text}" for text, whom in about.items()]


def few(whom: Sequence[str]) -> str:
    """Names for a line, not too many of them."""
    return ", ".join(whom[:4]) + (f" and {len(whom) - 4} more" if len(whom) > 4 else "")


INSTANCE_HEADERS = ("Name", "Instance", "State", "Type", "Image", "Address", "Ports")


def instances_html(instances: Sequence[Instance]) -> str:
    """A table of instances."""
    if not instances:
        return faint_html("no instances")
    return table_html(
        INSTANCE_HEADERS,
        [
            (
                machine.name,
                Html(f'<span style="{_CODE}">{escape(machine.id)}</span>'),
                Html(
                    state_html(machine.state, wrong=machine.impaired)
                    + escape(state_text(machine)[len(machine.state) :])
                ),
                machine.type,
                machine.image or machine.image_id,
                machine.private_ip,
                Html("<br>".join(_port_html(port) for port in machine.ports)),
            )
            for machine in instances
        ],
        kind="instances",
        below=remarks(instances),
    )


def instances_text(instances: Sequence[Instance]) -> str:
    """A table of instances."""
    if not instances:
        return "no instances"
    table = table_text(
        INSTANCE_HEADERS,
        [
            (
                machine.name or "-",
                machine.id,
                state_text(machine),
                machine.type,
                machine.image or machine.image_id,
                machine.private_ip,
                " ".join(port_text(port) for port in machine.ports) or "-",
            )
            for machine in instances
        ],
    )
    return "\n".join([table, *(f"  {_plain(line)}" for line in remarks(instances))])


def _facts(machine: Instance) -> list[tuple[str, object]]:
    """What there is to say about one instance; empty facts are left out."""
    image = (
        f"{machine.image} ({machine.image_id})"
        if machine.image and machine.image_id
        else machine.image or machine.image_id
    )
    coded = machine.reason_code and not machine.reason.startswith(machine.reason_code)
    reason = f"{machine.reason} ({machine.reason_code})" if machine.reason and coded else machine.reason
    facts: list[tuple[str, object]] = [
        ("now", machine.progress),
        ("impaired", machine.impairment),
        ("reason", reason),
        ("user data", machine.user_data),
        ("note", machine.note),
        ("type", machine.type),
        ("image", image),
        ("address", ", ".join(filter(None, (machine.private_ip, machine.public_ip and f"public {machine.public_ip}")))),
        ("network", " ".join(filter(None, (machine.zone, machine.vpc_id, machine.subnet_id)))),
        ("security groups", ", ".join(machine.security_groups)),
        ("key", machine.key_name),
        ("profile", machine.profile),
        ("volumes", ", ".join(_volume(volume) for volume in machine.volumes)),
        ("tags", ", ".join(f"{key}={value}" for key, value in machine.tags.items() if _own_tag(key))),
        ("container", machine.container if machine.backed else "none: simulated"),
        ("launched", _when(machine.launch_time)),
    ]
    return [(name, value) for name, value in facts if value]


def _own_tag(key: str) -> bool:
    """Whether a tag isn't shown elsewhere already: the name, and what was asked for by our own tags."""
    return key != "Name" and not key.startswith(TAG_PREFIX)


def _volume(volume: Mapping[str, object]) -> str:
    size_text = f" {volume['size']} GiB" if volume.get("size") else ""
    return f"{volume.get('volume_id', '')}{size_text} on {volume.get('device', '')}"


def _when(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S %Z}".strip() if moment else ""


def instance_html(machine: Instance) -> str:
    """A card of one instance."""
    name = f"<strong>{escape(machine.name)}</strong> " if machine.name else ""
    state = state_html(machine.state, wrong=machine.impaired) + escape(state_text(machine)[len(machine.state) :])
    title = Html(f'{name}<span style="{_CODE}">{escape(machine.id)}</span> &nbsp;{state}')
    ports = Html("<br>".join(_port_html(port) for port in machine.ports))
    facts = _facts(machine)
    return pairs_html(title, [*([("ports", ports)] if ports else []), *facts], kind="instance")


def instance_text(machine: Instance) -> str:
    """The lines of one instance."""
    title = " ".join(filter(None, (machine.id, machine.name, state_text(machine))))
    ports = ", ".join(f"{port_text(port)} {port.url}" if port.host_port else port_text(port) for port in machine.ports)
    return pairs_text(title, [*([("ports", ports)] if ports else []), *_facts(machine)])


def watched(instances: Sequence[Instance]) -> str:
    """The line of a wait: what the instances are doing."""
    if len(instances) == 1:
        machine = instances[0]
        return " ".join(filter(None, (machine.name, machine.id, machine.state))) + (
            f", {machine.progress}" if machine.progress else ""
        )
    states = [machine.state for machine in instances]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    busy = next((machine.progress for machine in instances if machine.progress), "")
    return f"{len(instances)} instances: {counts}" + (f", {busy}" if busy else "")


def label(machine: Instance) -> str:
    """Id and name, for sentences."""
    return f"{machine.id} {machine.name}".rstrip()


# -- the rest ----------------------------------------------------------------------------------------------

STATS_HEADERS = ("Name", "Instance", "CPU", "Memory", "of", "Processes", "Received", "Sent")


def stats_rows(stats: Iterable[Stats]) -> list[tuple[str, ...]]:
    """The cells of a table of resource use."""
    return [
        (
            row.name or "-", row.instance_id, f"{row.cpu_percent:.1f} %", size(row.memory_bytes),
            size(row.memory_limit) if row.memory_limit else "-", str(row.pids), size(row.net_rx), size(row.net_tx),
        )
        for row in stats
    ]  # fmt: skip


def counts_text(counts: Mapping[str, int]) -> str:
    """How many instances are in which state."""
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "none"


def status_facts(status: Status) -> list[tuple[str, object]]:
    """What there is to say about the control plane and the engine."""
    process = f", process {status.pid}" if status.pid else ", elsewhere"
    plane = f"running, version {status.version}{process}" if status.running else "not running"
    facts: list[tuple[str, object]] = [
        ("control plane", plane),
        ("endpoint", status.endpoint),
        ("engine", status.engine or (f"none: {status.engine_error}" if status.running else "")),
        ("instances", counts_text(status.counts) if status.running else ""),
        ("state", status.state_dir),
        ("log", status.log_file),
        *(("notice", notice) for notice in status.notices),
    ]
    return [(name, value) for name, value in facts if value]


def status_html(status: Status) -> str:
    """The state of the control plane and the engine."""
    return pairs_html(Html("<strong>oblako</strong>"), status_facts(status), kind="status")


def status_text(status: Status) -> str:
    """The state of the control plane and the engine."""
    return pairs_text("oblako", status_facts(status))


def _check_row(check: Check) -> tuple[str, str, str, str]:
    return ("ok" if check.ok else "wrong", check.name, check.detail, "" if check.ok else check.next_step)


def orphan_text(orphan: Orphan) -> str:
    """An orphan in one line."""
    whose = " (another control plane's: left alone)" if orphan.foreign else ""
    return f"{orphan.kind} {orphan.name}{': ' if orphan.detail else ''}{orphan.detail}{whose}"


def report_text(report: Report) -> str:
    """What the doctor found."""
    lines = [table_text(("", "Check", "Finding", "Next step"), [_check_row(check) for check in report.checks])]
    lines += [f"orphaned {orphan_text(orphan)}" for orphan in report.orphans]
    return "\n".join([*lines, _verdict(report)])


def report_html(report: Report) -> str:
    """What the doctor found."""
    rows = [
        (Html(f'<span style="color: {COLOURS["running"] if check.ok else WRONG};">{word}</span>'), *rest)
        for check in report.checks
        for word, *rest in [_check_row(check)]
    ]
    orphans = "".join(f"<div>orphaned {escape(orphan_text(orphan))}</div>" for orphan in report.orphans)
    table = table_html(("", "Check", "Finding", "Next step"), rows, kind="doctor")
    return Html(f'<div style="{_BOX}">{table}{orphans}<div>{escape(_verdict(report))}</div></div>')


def _verdict(report: Report) -> str:
    mine = [orphan for orphan in report.orphans if not orphan.foreign]
    if mine:
        return (
            "The orphans are kept until you say: doctor --adopt takes them in again, "
            "doctor --remove deletes them and their data."
        )
    return "All is well." if report.ok else "Something is wrong; see the next steps."
