"""``notebook run``, ``ls``, ``open``, ...: JupyterLab in instances of their own."""

from __future__ import annotations

import webbrowser
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from .. import render_notebooks
from ..parser import MAGIC, pair, publish, seconds, whole
from ..registry import Argument, Example, Option, command
from ..results import Change, Changes, Text
from ..session import Session
from .common import NO_WAIT, TIMEOUT, Kind, limit, watching

if TYPE_CHECKING:
    from ...notebooks import Notebook, NotebookList
    from ...notebooks.client import Action

NAME = Argument("NAME", "The notebook's name.", completes="notebooks")
NAMES = Argument("NAME", "Names, patterns such as class-*, or @last.", many=True, completes="notebooks")
CSV = Option(
    ("--csv",),
    "Write names, addresses and links to a file that only you can read; each link logs in as often as wanted.",
    "FILE",
)
_WHAT = (
    Option(("--type",), "Type, such as ml.t3.medium (the default) or ml.m5.xlarge; it limits CPU and memory.", "TYPE"),
    Option(("--volume-size",), "Size of the volume in GiB; 5 by default.", "GIB", type=whole(5, 16384)),
    Option(
        ("--lifecycle",),
        "A file with a script that runs as root at each start, or the name of a lifecycle configuration.",
        "FILE|NAME",
    ),
    Option(("--git",), "A repository to clone, by its https address; the first one is opened.", "URL", True),
)


def _list(notebooks: Sequence[Notebook]) -> NotebookList:
    from ...notebooks import NotebookList

    return NotebookList(notebooks)


KIND: Kind[Notebook] = Kind(
    render_notebooks.watched,
    _list,
    lambda notebook: f"{notebook.name} ({notebook.status})",
    lambda seen: f"{MAGIC} notebook ls shows how it stands",
)


@command(
    "notebook run",
    "Launch JupyterLab in an instance of its own, or a class of them",
    details="Gives the notebook, or a list of them with --count, --names or several names. Each has its own token and "
    "its own volume at /home/ec2-user/SageMaker, where its files are kept over stop and start. The link that is shown "
    "logs in once, within five minutes, so that a saved notebook holds no secret.",
    cell="the cell is a script that runs as root at each start (as --lifecycle).",
    arguments=[Argument("NAME", "Name of the notebook; several make several.", many=True, required=False)],
    options=[
        *_WHAT,
        Option(("--image",), "Any container image with JupyterLab in it.", "IMAGE", completes="images"),
        Option(("--publish", "-p"), "Publish a further TCP port on this machine.", "[HOST:]PORT", True, publish),
        Option(("--env",), "An environment variable of JupyterLab and its kernels.", "KEY=VALUE", True, pair),
        Option(("--lifetime",), "Stop it this long after its start, such as 8h.", "TIME", type=seconds),
        Option(("--idle",), "Stop it when nothing has run in it for so long, such as 1h.", "TIME", type=seconds),
        Option(("--count",), "A class of so many: NAME-01, NAME-02 and so on.", "N", type=whole(1, 100)),
        Option(("--names",), "A class by names, separated by commas.", "A,B,..."),
        CSV,
        Option(("--embed",), "Show JupyterLab in a frame below the cell.", magic_only=True),
        NO_WAIT,
        TIMEOUT,
    ],
    examples=[
        Example(f"lab = {MAGIC} notebook run lab", "One notebook; shown by itself it has a link that opens it."),
        Example(f"{MAGIC} notebook run class --count 20 --csv class.csv", "A class of 20, and a file of their links."),
        Example(
            f"%{MAGIC} notebook run lab --git https://github.com/jupyter/notebook --idle 2h",
            "Clones a repository, installs a package at each start, and stops when nobody works in it.",
            "#!/bin/sh\npip install --quiet seaborn\n",
        ),
    ],
)
def run(session: Session, args: Namespace) -> Any:
    """Launch, and show what was asked for."""
    names, count = _wanted(args)
    single = len(names) == 1 and count is None
    if getattr(args, "embed", False) and (not single or args.no_wait):
        raise UsageError("notebook run: --embed shows one notebook that answers; take --count or --no-wait off.")
    if args.csv and args.no_wait:
        raise UsageError("notebook run: --csv needs links, which there are when they answer; take --no-wait off.")
    lifecycle = session.body
    if args.lifecycle and lifecycle is not None:
        raise UsageError("notebook run: the cell is the script already; take --lifecycle off the line.")
    given = {"instance_type": args.type, "volume_size": args.volume_size}
    what = names[0] if len(names) == 1 else f"{len(names)} notebooks"
    with watching(session, what, KIND) as on_change:
        notebooks = session.ec2.notebooks.run(
            names[0] if single or count is not None else names,
            count=count,
            image=args.image,
            lifecycle=_lifecycle(args.lifecycle) if lifecycle is None else _script(lifecycle),
            git=tuple(args.git),
            publish=tuple(args.publish),
            env=dict(args.env),
            lifetime=args.lifetime,
            idle=args.idle,
            wait=not args.no_wait,
            on_change=on_change,
            # What is not given is for the call to say.
            **{key: value for key, value in given.items() if value},
            **limit(session, args),
        )
    session.partial = KIND.handle(notebooks)
    _export(notebooks, args.csv)
    if getattr(args, "embed", False):
        session.show(notebooks[0].embed())
    return notebooks[0] if single else notebooks


def _wanted(args: Namespace) -> tuple[list[str], int | None]:
    """The names, and into how many the one is numbered."""
    names = list(args.name)
    if args.names:
        given = [name.strip() for name in args.names.split(",") if name.strip()]
        if len(names) > 1 or args.count:
            raise UsageError("notebook run: --names goes with one NAME at most, to stand before each, and no --count.")
        names = [f"{names[0]}-{name}" for name in given] if names else given
    if not names:
        raise UsageError(f"notebook run: give it a name, such as {MAGIC} notebook run lab.")
    if args.count and len(names) > 1:
        raise UsageError("notebook run: --count numbers one name; give one, or all names and no --count.")
    return names, args.count


def _lifecycle(given: str | None) -> str | Path | None:
    """A file where there is one, else the name of a configuration."""
    if not given:
        return None
    path = Path(given).expanduser()
    # What can't be a configuration's name is a file, also one that isn't there.
    return path if any(sign in given for sign in "/\\.~\0") or path.is_file() else given


def _script(cell: str) -> str:
    return cell if cell.startswith("#!") else f"#!/bin/sh\n{cell}"


def _export(notebooks: NotebookList, path: str | None) -> None:
    if path:
        try:
            notebooks.to_csv(Path(path).expanduser())
        except OSError as error:
            raise UsageError(f"{path} can't be written: {error.strerror or error}.") from None


@command(
    "notebook ls",
    "List notebooks, each with a link that opens it",
    arguments=[Argument("NAME", "Names or patterns; all by default.", True, False, completes="notebooks")],
    options=[CSV],
    details="The links log in once, within five minutes. --csv writes lasting ones: whoever has a line of that file "
    "has that notebook, until it is terminated.",
    examples=[
        Example(f"{MAGIC} notebook ls", "A table with links."),
        Example(f"{MAGIC} notebook ls 'class-*' --csv class.csv", "The links of a class, for its teacher to hand out."),
    ],
)
def ls(session: Session, args: Namespace) -> Any:
    """List."""
    client = session.ec2.notebooks
    notebooks = client.find(args.name) if args.name else client.all()
    _export(notebooks, args.csv)
    return notebooks


@command(
    "notebook open",
    "Give a link that opens a notebook logged in",
    arguments=[NAME],
    options=[
        Option(("--embed",), "Show JupyterLab in a frame below the cell.", magic_only=True),
        Option(("--browser",), "Open it in the browser of the machine that this runs on."),
    ],
    details="As CreatePresignedNotebookInstanceUrl: the link works once, within five minutes, and holds no token.",
    examples=[
        Example(f"{MAGIC} notebook open lab", "A link to click."),
        Example(f"{MAGIC} notebook open lab --embed", "JupyterLab inside this notebook."),
    ],
)
def open_(session: Session, args: Namespace) -> Any:
    """Make a link."""
    notebook = session.ec2.notebooks.get(args.name)
    if getattr(args, "embed", False):
        return notebook.embed()
    link = session.ec2.notebooks.link(notebook)
    if args.browser:
        # Which browser, and whether there is one, the system knows.
        return Text(f"{notebook.name} opens in the browser") if webbrowser.open(link.url) else link
    return link


@command(
    "notebook url",
    "Give a notebook's plain address, without a token",
    arguments=[NAME],
    details="It opens where the browser is logged in already, and asks for the token elsewhere.",
    examples=[Example(f"{MAGIC} notebook url lab", "Where JupyterLab listens; the port is kept over stop and start.")],
)
def url(session: Session, args: Namespace) -> Any:
    """Give the address."""
    notebook = session.ec2.notebooks.get(args.name)
    if not notebook.url:
        raise UsageError(f"notebook url: {notebook.name} is {notebook.status} and has no address now.")
    return Text(notebook.url)


def _change(session: Session, args: Namespace, action: Action) -> Changes:
    """Do the same to every notebook that the line names, and say what became of each."""
    notebooks = session.ec2.notebooks.find(args.name)
    before = {notebook.name: notebook.status for notebook in notebooks}
    with watching(session, action, KIND, notebooks) as on_change:
        after = session.ec2.notebooks.change(
            action, notebooks, wait=not args.no_wait, on_change=on_change, **limit(session, args)
        )
    return Changes((Change("", n.name, before.get(n.name, "?"), n.status) for n in after), after)


@command(
    "notebook stop",
    "Stop notebooks; their files stay",
    arguments=[NAMES],
    options=[NO_WAIT, TIMEOUT],
    examples=[Example(f"{MAGIC} notebook stop 'class-*'", "Stops a whole class.")],
)
def stop(session: Session, args: Namespace) -> Any:
    """Stop."""
    return _change(session, args, "stop")


@command(
    "notebook start",
    "Start stopped notebooks on the files that they had",
    arguments=[NAMES],
    options=[NO_WAIT, TIMEOUT],
    examples=[Example(f"{MAGIC} notebook start lab", "Starts it and waits until JupyterLab answers.")],
)
def start(session: Session, args: Namespace) -> Any:
    """Start."""
    return _change(session, args, "start")


@command(
    "notebook terminate",
    "Remove notebooks with the files in them",
    arguments=[NAMES],
    options=[NO_WAIT, TIMEOUT],
    details="Asks for nothing. What runs is stopped first, as DeleteNotebookInstance wants it.",
    examples=[Example(f"{MAGIC} notebook terminate 'class-*'", "The end of a class.")],
)
def terminate(session: Session, args: Namespace) -> Any:
    """Terminate."""
    return _change(session, args, "terminate")


@command(
    "notebook update",
    "Change a stopped notebook's type, volume, script or repositories",
    arguments=[NAME],
    options=_WHAT,
    details="The next start has what is new. none as --lifecycle or --git takes it away; a volume only grows.",
    examples=[Example(f"{MAGIC} notebook update lab --type ml.m5.xlarge", "More CPU and memory from the next start.")],
)
def update(session: Session, args: Namespace) -> Any:
    """Change."""
    git = None if not args.git else () if args.git == ["none"] else tuple(args.git)
    lifecycle = "" if args.lifecycle == "none" else _lifecycle(args.lifecycle)
    return session.ec2.notebooks.update(
        session.ec2.notebooks.get(args.name),
        instance_type=args.type,
        volume_size=args.volume_size,
        lifecycle=lifecycle,
        git=git,
    )
