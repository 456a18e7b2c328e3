"""A picture of what there is: VPCs, their subnets, the instances in them, security groups and published ports, as SVG.

Pure: plain data in, text out. Colours are JupyterLab's where it shows the picture, else plain ones for light and dark.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import OblakoError
from .results import _Shown

WIDTH = 990
_CARD, _FULL, _SMALL, _GAP = 228, 84, 40, 10
_PAD, _HEAD = 14, 30
_MANY = 16
"""Instances of one subnet beyond which each gets two lines instead of four."""
_LETTER = 5.9
"""Pixels that a letter takes at most, on average, at 11 pixels' size."""
_DOT = " · "
_STATES = {"running": "good", "pending": "moving", "stopping": "moving", "shutting-down": "moving", "stopped": "off"}
_STYLE = """
.ob-map{--m-text:var(--vscode-foreground,var(--jp-ui-font-color0,#1f2328));
--m-dim:var(--vscode-descriptionForeground,var(--jp-ui-font-color1,#59636e));
--m-page:var(--vscode-editor-background,var(--jp-layout-color0,#fff));
--m-vpc:var(--vscode-editorWidget-background,var(--jp-layout-color1,#f6f8fa));
--m-net:var(--vscode-list-hoverBackground,var(--jp-layout-color2,#eaeef2));
--m-line:var(--vscode-disabledForeground,var(--jp-border-color1,#afb8c1));
--m-good:var(--vscode-charts-green,var(--jp-success-color1,#2e7d32));
--m-moving:var(--vscode-editorWarning-foreground,var(--jp-warn-color1,#bf5600));
--m-off:var(--vscode-descriptionForeground,var(--jp-ui-font-color3,#6e7781));
--m-bad:var(--vscode-editorError-foreground,var(--jp-error-color1,#c62828));
--m-link:var(--vscode-textLink-foreground,var(--jp-content-link-color,#0969da));
font-family:var(--vscode-font-family,var(--jp-ui-font-family,system-ui,-apple-system,"Segoe UI",sans-serif));
font-size:11px;
max-width:100%;height:auto}
.ob-map text{fill:var(--m-text)}.ob-map .dim{fill:var(--m-dim)}.ob-map .name{font-size:13px;font-weight:600}
.ob-map .head{font-size:12px;font-weight:600}.ob-map .vpc{fill:var(--m-vpc);stroke:var(--m-line)}
.ob-map .net{fill:var(--m-net);stroke:none}.ob-map .card{fill:var(--m-page);stroke:var(--m-line)}
.ob-map .good{fill:var(--m-good)}.ob-map .moving{fill:var(--m-moving)}
.ob-map .off{fill:none;stroke:var(--m-off);stroke-width:2}
.ob-map .bad{fill:var(--m-bad)}.ob-map .simulated{stroke-dasharray:4 3}.ob-map .chip{fill:none;stroke:var(--m-dim)}
.ob-map a text{fill:var(--m-link);text-decoration:underline}
"""
_DARK = """@media (prefers-color-scheme:dark){.ob-map-alone{--m-text:#f0f6fc;--m-dim:#9198a1;--m-page:#0d1117;
--m-vpc:#151b23;
--m-net:#212830;--m-line:#3d444d;--m-good:#3fb950;--m-moving:#d29922;--m-off:#9198a1;--m-bad:#f85149;--m-link:#4493f8}}
"""


@dataclass(frozen=True)
class Machine:
    """An instance in the picture; ``groups`` are ids, ``ports`` pairs of the instance's port and its link."""

    id: str
    name: str = ""
    state: str = "running"
    type: str = ""
    address: str = ""
    subnet: str = ""
    vpc: str = ""
    groups: tuple[str, ...] = ()
    ports: tuple[tuple[int, str], ...] = ()
    backed: bool = True
    impaired: bool = False

    @property
    def says(self) -> str:
        """All of it, in a line."""
        state = f"{self.state}{', impaired' if self.impaired else ''}{'' if self.backed else ', simulated'}"
        ports = " ".join(f"{link} -> {port}" for port, link in self.ports)
        return "  ".join(filter(None, [self.name, self.id, state, self.type, self.address, ports]))


@dataclass(frozen=True)
class Subnet:
    """A subnet."""

    id: str
    vpc: str
    cidr: str = ""
    zone: str = ""
    name: str = ""

    @property
    def says(self) -> str:
        """Its name, zone and addresses."""
        return "  ".join(filter(None, [self.name or self.id, self.zone, self.cidr]))


@dataclass(frozen=True)
class Group:
    """A security group and what it lets in, a line each."""

    id: str
    vpc: str
    name: str = ""
    rules: tuple[str, ...] = ()


@dataclass(frozen=True)
class Vpc:
    """A VPC."""

    id: str
    cidr: str = ""
    name: str = ""
    default: bool = False

    @property
    def says(self) -> str:
        """Its name and addresses."""
        return "  ".join(filter(None, ["VPC", self.name or self.id, self.cidr, "(default)" if self.default else ""]))


@dataclass(frozen=True, repr=False)
class Topology(_Shown):
    """What there is in a region; displays as a picture, in a terminal as a tree.

    Parameters
    ----------
    region : str
    vpcs, subnets, machines, groups : tuple
    """

    region: str
    vpcs: tuple[Vpc, ...] = ()
    subnets: tuple[Subnet, ...] = ()
    machines: tuple[Machine, ...] = ()
    groups: tuple[Group, ...] = ()

    def svg(self) -> str:
        """The picture as a file of its own."""
        return draw(self, alone=True)

    def save(self, path: str | Path) -> Path:
        """Write the picture to a file.

        Raises
        ------
        OblakoError
            Where it can't be written.
        """
        target = Path(path).expanduser()
        try:
            target.write_text(self.svg(), encoding="utf-8")
        except OSError as error:
            raise OblakoError(f"{target} can't be written: {error.strerror or error}.") from error
        return target

    def as_text(self) -> str:
        """VPCs, subnets and instances as a tree."""
        lines: list[str] = []
        for vpc, subnets, empty in _tree(self):
            lines.append(vpc.says)
            for subnet, machines in subnets:
                lines.append(f"  subnet  {subnet.says}")
                lines += [f"    {machine.says}  {self._group_names(machine)}".rstrip() for machine in machines]
            if empty:
                lines.append(f"  {_empty(empty)}")
        return "\n".join(lines) or f"no VPC in {self.region}"

    def _group_names(self, machine: Machine) -> str:
        known = {group.id: group.name for group in self.groups}
        return f"[{', '.join(known.get(one) or one for one in machine.groups)}]" if machine.groups else ""

    def _repr_html_(self) -> str:
        return f'<div class="oblako-map">{draw(self)}</div>'

    def _repr_svg_(self) -> str:
        return self.svg()


def _of(items: Iterable[Any], vpc: str) -> list[Any]:
    return [item for item in items if item.vpc == vpc]


def _tree(shown: Topology) -> list[tuple[Vpc, list[tuple[Subnet, list[Machine]]], list[Subnet]]]:
    """Each VPC with its subnets that have instances, and those that have none."""
    vpcs = {vpc.id: vpc for vpc in shown.vpcs}
    for machine in shown.machines:
        vpcs.setdefault(machine.vpc, Vpc(machine.vpc, name=machine.vpc or "outside of any VPC"))
    tree = []
    for vpc in vpcs.values():
        subnets = {subnet.id: subnet for subnet in _of(shown.subnets, vpc.id)}
        inside: dict[str, list[Machine]] = {}
        for machine in sorted(_of(shown.machines, vpc.id), key=lambda one: (one.name or "~", one.id)):
            inside.setdefault(machine.subnet, []).append(machine)
        full = [(subnets.get(key) or Subnet(key, vpc.id, name=key or "no subnet"), inside[key]) for key in inside]
        full.sort(key=lambda one: (one[0].zone, one[0].cidr))
        tree.append((vpc, full, [subnet for subnet in subnets.values() if subnet.id not in inside]))
    # What has something in it comes first.
    return sorted(tree, key=lambda one: not one[1])


def _empty(subnets: Sequence[Subnet]) -> str:
    where = ", ".join(subnet.name or subnet.zone or subnet.id for subnet in subnets[:8])
    more = f" and {len(subnets) - 8} more" if len(subnets) > 8 else ""
    return f"{len(subnets)} subnet{'s' if len(subnets) > 1 else ''} without instances: {where}{more}"


def _text(value: object) -> str:
    # Control characters are no XML, however they got into a tag.
    return html.escape("".join(sign if sign.isprintable() else " " for sign in str(value)), quote=True)


def _fitted(value: str, pixels: float, size: float = 11) -> str:
    """The text, cut where it would leave its place."""
    room = max(1, int(pixels / (_LETTER * size / 11)))
    return value if len(value) <= room else f"{value[: room - 1]}…"


def _words(x: float, y: float, value: str, kind: str = "", pixels: float = WIDTH, size: float = 11) -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:g}" y="{y:g}"{named}>{_text(_fitted(value, pixels, size))}</text>'


@dataclass
class _Canvas:
    """The picture while it is drawn, from the top down."""

    letters: Mapping[str, str]
    parts: list[str] = field(default_factory=list)
    y: float = 0.0


def draw(shown: Topology, *, alone: bool = False) -> str:
    """The picture.

    Parameters
    ----------
    shown : Topology
    alone : bool
        Whether it is a file of its own, which knows no page around it.

    Returns
    -------
    str
        An ``svg`` element.
    """
    tree = _tree(shown)
    used = list(dict.fromkeys(one for machine in shown.machines for one in machine.groups))
    canvas = _Canvas({key: _letter(number) for number, key in enumerate(used)})
    for vpc, subnets, empty in tree:
        _vpc(canvas, vpc, subnets, empty, [group for group in _of(shown.groups, vpc.id) if group.id in canvas.letters])
    if not tree:
        canvas.parts.append(_words(_PAD, 24, f"There is no VPC in {shown.region} yet.", "dim"))
        canvas.y = 40
    count = len(shown.machines)
    title = (
        f"{count} instance{'' if count == 1 else 's'} in {len(tree)} VPC{'' if len(tree) == 1 else 's'}, {shown.region}"
    )
    size = f'width="{WIDTH}" height="{canvas.y:g}" viewBox="0 0 {WIDTH} {canvas.y:g}"'
    kind = "ob-map ob-map-alone" if alone else "ob-map"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="{kind}" role="group" aria-label="{_text(title)}" {size}>'
        f"<title>{_text(title)}</title><desc>{_text(shown.as_text())}</desc>"
        f"<style>{_STYLE}{_DARK if alone else ''}</style>{''.join(canvas.parts)}</svg>"
    )


def _letter(number: int) -> str:
    """A, B, ... Z, AA, AB: what stands for a group on the cards."""
    letters = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(65 + rest) + letters
    return letters


def _box(x: float, y: float, width: float, height: float, kind: str, radius: int = 8) -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius}" class="{kind}"/>'


def _vpc(
    canvas: _Canvas,
    vpc: Vpc,
    subnets: Sequence[tuple[Subnet, Sequence[Machine]]],
    empty: Sequence[Subnet],
    groups: Sequence[Group],
) -> None:
    top, inner = canvas.y + 1, WIDTH - 2 * _PAD
    parts: list[str] = [_words(_PAD, top + 20, vpc.says, "head")]
    x, y, row = float(_PAD), top + _HEAD, 0.0
    for subnet, machines in subnets:
        columns = max(1, min(len(machines), (inner - 2 * _GAP + _GAP) // (_CARD + _GAP)))
        high = _SMALL if len(machines) > _MANY else _FULL
        rows = -(-len(machines) // columns)
        width = columns * (_CARD + _GAP) + _GAP
        height = _HEAD - 4 + rows * (high + _GAP)
        if x > _PAD and x + width > _PAD + inner:
            x, y, row = float(_PAD), y + row + _GAP, 0.0
        # The id comes last: it is the first to be cut.
        label = _DOT.join(filter(None, [subnet.name, subnet.zone, subnet.cidr, subnet.id if not subnet.name else ""]))
        parts.append(f"<g><title>{_text(f'subnet {label} {subnet.id}')}</title>{_box(x, y, width, height, 'net')}")
        parts.append(f"{_words(x + _GAP, y + 17, label, 'dim', width - 2 * _GAP)}</g>")
        for number, machine in enumerate(machines):
            left = x + _GAP + number % columns * (_CARD + _GAP)
            parts.append(_card(canvas, machine, left, y + _HEAD - 6 + number // columns * (high + _GAP), high))
        x, row = x + width + _GAP, max(row, height)
    y += row + (_GAP if subnets else 0)
    if empty:
        parts.append(_words(_PAD, y + 12, _empty(empty), "dim", inner))
        y += 22
    for group in groups:
        parts.append(_chip(_PAD, y, canvas.letters[group.id]))
        rules = "; ".join(group.rules) or "lets nothing in"
        line = f"security group {group.name or group.id}: {rules}"
        left = _PAD + _chip_width(canvas.letters[group.id]) + 8
        parts.append(
            f"<g><title>{_text(f'{line} ({group.id})')}</title>{_words(left, y + 12, line, '', inner - 40)}</g>"
        )
        y += 22
    bottom = y + 4
    canvas.parts += [_box(0.5, top, WIDTH - 1, bottom - top, "vpc", 10), *parts]
    canvas.y = bottom + 14


def _chip_width(letter: str) -> float:
    return 10 + 7.5 * len(letter)


def _chip(x: float, y: float, letter: str) -> str:
    width = _chip_width(letter)
    text = f'<text x="{x + width / 2:g}" y="{y + 12:g}" text-anchor="middle">{letter}</text>'
    return f"{_box(x, y, width, 16, 'chip', 4)}{text}"


def _card(canvas: _Canvas, machine: Machine, x: float, y: float, high: int) -> str:
    """One instance: its state as a dot and a word, its name, its addresses, its groups' letters, its ports' links."""
    kind = "bad" if machine.impaired else _STATES.get(machine.state, "off")
    word = "impaired" if machine.impaired else machine.state
    if not machine.backed:
        word = f"{word}, simulated"
    groups = ", ".join(canvas.letters[one] for one in machine.groups if one in canvas.letters)
    inner = _CARD - 24
    parts = [
        f"<g><title>{_text(machine.says + (f'  security groups {groups}' if groups else ''))}</title>",
        _box(x, y, _CARD, high, "card" if machine.backed else "card simulated", 6),
        f'<circle cx="{x + 14:g}" cy="{y + 16:g}" r="{4 if kind == "off" else 5}" class="{kind}"/>',
        _words(x + 26, y + 20, machine.name or machine.id, "name", inner - 14, 13),
    ]
    if high == _SMALL:
        ports = " ".join(f":{port}" for port, _ in machine.ports)
        line = _DOT.join(filter(None, [word, machine.address, ports, groups and f"[{groups}]"]))
        parts.append(_words(x + 26, y + 34, line, "dim", inner - 2))
        return "".join([*parts, "</g>"])
    line = _DOT.join(filter(None, [word, machine.type]))
    parts.append(_words(x + 26, y + 37, line, "dim", inner - 2))
    parts.append(_words(x + 12, y + 55, _DOT.join(filter(None, [machine.address, machine.id])), "dim", inner))
    left = x + 12
    for one in machine.groups[:3]:
        if one in canvas.letters:
            parts.append(_chip(left, y + 62, canvas.letters[one]))
            left += _chip_width(canvas.letters[one]) + 4
    for port, link in machine.ports:
        label = f":{link.rpartition(':')[2]} → {port}" if link else f"port {port}"
        wide = len(label) * _LETTER
        if left + wide > x + _CARD - 10:
            parts.append(_words(left, y + 74, "…", "dim"))
            break
        text = _words(left, y + 74, label)
        safe = link.startswith(("http://", "https://"))
        opens = f'<a href="{_text(link)}" target="_blank" rel="noopener">{text}</a>'
        parts.append(opens if safe else text)
        left += wide + 8
    return "".join([*parts, "</g>"])
