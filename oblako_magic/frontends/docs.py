"""``python -m oblako_magic.frontends.docs`` prints docs/magics.md. Pure; the registry is all it reads."""

from __future__ import annotations

from .parser import MAGIC, option_help, usage
from .registry import Command, commands

_HEAD = f"""\
# The magics

<!-- Made from the registry by `make docs`: change oblako_magic/frontends/commands/, not this file. -->

`%load_ext oblako_magic` registers `{MAGIC}` and `%{MAGIC}`. `{MAGIC}` alone shows a short overview, `{MAGIC}?` the
subcommands, `{MAGIC} SUBCOMMAND --help` what stands below.

- **TARGET** is an instance id or the beginning of one, a Name tag, a pattern such as `web-*`, or `@last`.
- **Variables.** `{{expr}}` is replaced where it is a Python expression that uses a name of yours and all its names are
  defined; `$name` and `$name.attribute` where the name is defined, outside single quotes. Everything else stays, so
  JSON, `cost$5` and `awk '{{print $1}}'` arrive as they are. `{{{{expr}}}}` and `$$name` write a defined one literally;
  `${{name}}` is the shell's. A value never splits into words; a word that is one placeholder for a list becomes a word
  for each member, and an instance stands for its id: `{MAGIC} stop {{machines}}`. After `exec TARGET`, values are put
  into the command as text. A cell's body is never touched.
- **Results.** A subcommand returns an object: `web = {MAGIC} run`. `-o NAME` binds it instead of displaying it, also
  when the subcommand fails and there is something to look at. `--json` gives text. A `;` at the end shows nothing.
- **Errors** are one line. `{MAGIC} --debug SUBCOMMAND ...` shows the traceback.
- **Interrupting** the kernel stops the waiting and leaves alone what runs; only `exec` stops its command.
"""


def markdown() -> str:
    """The whole page."""
    known = commands()
    table = ["| subcommand | what it does |", "| --- | --- |"]
    table += [f"| [`{name}`](#{name.replace(' ', '-')}) | {command.summary} |" for name, command in known.items()]
    return "\n".join([_HEAD, *table, "", *(_section(command) for command in known.values())]).rstrip() + "\n"


def _section(command: Command) -> str:
    lines = [f"## {command.name}", "", f"{command.summary}.", "", "```text", usage(command), "```", ""]
    if command.details:
        lines += [command.details, ""]
    if command.cell:
        lines += [f"As a cell magic (`%{MAGIC} {command.name}`), {command.cell}", ""]
    lines += ["| argument or option | meaning |", "| --- | --- |"]
    lines += [f"| `{argument.name}` | {_cell(argument.help)} |" for argument in command.arguments]
    for option in command.all_options:
        flags = ", ".join(f"`{flag}{' ' + option.metavar if option.metavar else ''}`" for flag in option.flags)
        lines.append(f"| {flags} | {_cell(option_help(option))} |")
    for example in command.examples:
        lines += ["", f"{example.says}", "", "```python", example.line, *example.body.splitlines(), "```"]
    return "\n".join([*lines, ""])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(markdown(), end="")
