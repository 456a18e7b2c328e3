"""Run the first tutorial notebook for real and tell what happened (``make demo``)."""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from traitlets.config import Config

from oblako_magic import names
from oblako_magic.engine import Engine, build, images
from oblako_magic.errors import OblakoError
from oblako_magic.settings import Settings
from scripts.setup_engine import advice, can_install, ensure_engine, install, say

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "notebooks" / "01-first-instance.ipynb"
OUTPUT = ROOT / ".demo"
"""Ignored by git: the executed copy goes here, the notebook itself stays as it is."""
LINES = 8
WIDTH = 116
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def provide_image(engine: Engine, settings: Settings) -> str:
    """Get the image that instances are made from: it is here, it is pulled, or it is built here."""
    wanted = settings.image or names.DEFAULT_IMAGE
    if images.local(engine, wanted):
        return wanted
    if settings.image is None and images.local(engine, names.BASE_IMAGE):
        return names.BASE_IMAGE
    try:
        say(f"pulling {wanted}")
        images.pull(engine, wanted, timeout=settings.pull_timeout)
        return wanted
    except OblakoError as error:
        if settings.image is not None:
            raise
        say(f"no registry: {str(error)[:160].rstrip('.')}; the base image is built here")
    if not build.can_build() and can_install():
        say("installing mmdebstrap")
        install(["mmdebstrap"])
    return build.build_base(engine.api, lambda line: say(f"  {line}"))


def _text(output: Any) -> str:
    """What a terminal would show of a cell's output."""
    kind = output.get("output_type")
    if kind == "stream":
        return str(output["text"])
    if kind == "error":
        return f"{output['ename']}: {output['evalue']}"
    return str(output.get("data", {}).get("text/plain", ""))


def tell(notebook: Any) -> list[str]:
    """Print each cell and what it said; returns the cells' errors."""
    errors: list[str] = []
    for cell in notebook.cells:
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        source = cell.source.strip().splitlines()
        say("")
        for line in source[:LINES]:
            say(f"  > {line}")
        shown = "".join(_text(output).rstrip() + "\n" for output in cell.outputs)
        lines = [line.rstrip() for line in ESCAPE.sub("", shown).splitlines() if line.strip()]
        for line in lines[:LINES]:
            say(f"    {line if len(line) <= WIDTH else line[: WIDTH - 3] + '...'}")
        if len(lines) > LINES:
            say(f"    ... and {len(lines) - LINES} lines more")
        if "raises-exception" not in cell.metadata.get("tags", []):  # that cell shows what a mistake looks like
            errors += [_text(output) for output in cell.outputs if output.get("output_type") == "error"]
    return errors


def without_containers() -> Any:
    """The notebook for a machine without an engine: what EC2 says is all there, nothing runs."""
    notebook = nbformat.v4.new_notebook()  # type: ignore[no-untyped-call]
    cells = (
        "%load_ext oblako_magic",
        "web = %ec2 run --name record --no-container\nweb",
        "import boto3\n\n"
        'answer = boto3.client("ec2").describe_instances(InstanceIds=[web.id])\n'
        'answer["Reservations"][0]["Instances"][0]["State"]["Name"]',
        "%ec2 stop {web.id}",
        "%ec2 terminate {web.id}",
    )
    notebook.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]  # type: ignore[no-untyped-call]
    return notebook


def execute(notebook: Any, name: str, *, timeout: int) -> Path:
    """Execute a notebook, in place, in a kernel of its own.

    Returns
    -------
    Path
        Where its copy is.
    """
    OUTPUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="oblako-") as folder:
        config = Config()
        if os.name == "posix":
            # Sockets in a folder of ours where the system has them, in place of ports that any user can reach.
            config.KernelManager.transport, config.KernelManager.ip = "ipc", os.path.join(folder, "kernel")
        client = NotebookClient(
            notebook,
            config=config,
            kernel_name="python3",
            timeout=timeout,
            allow_errors=True,
            resources={"metadata": {"path": str(OUTPUT)}},
        )
        client.execute()
    copy = OUTPUT / name
    nbformat.write(notebook, copy)  # type: ignore[no-untyped-call]
    return copy


def main() -> int:
    """Set up what is missing, execute, tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pid-file", type=Path, help="write the process id of a daemon that is started here")
    args = parser.parse_args()
    begun = time.monotonic()
    settings = Settings.from_env()
    engine = ensure_engine(settings, args.pid_file)
    if engine:
        say(f"engine: {engine.title}")
        try:
            say(f"image: {provide_image(engine, settings)}")
        except OblakoError as error:
            say(str(error))
            return 1
        finally:
            engine.close()
        say(f"executing {NOTEBOOK.relative_to(ROOT)}")
        notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    else:
        say(f"No containers: {advice(settings)}")
        say("Going on without: the instance below is a record only.")
        notebook = without_containers()
    try:
        copy = execute(notebook, NOTEBOOK.name if engine else "without-containers.ipynb", timeout=120)
    except (CellTimeoutError, DeadKernelError, RuntimeError) as error:
        say(f"The notebook could not be executed: {str(error).strip().splitlines()[0]}")
        return 1
    errors = tell(notebook)
    say("")
    say(f"{time.monotonic() - begun:.0f} s; the executed notebook is {copy.relative_to(ROOT)}.")
    say("Open the notebooks in JupyterLab: make lab")
    if errors:
        say(f"{len(errors)} cell{'s' if len(errors) > 1 else ''} failed; the first: {errors[0][:300]}")
    return 1 if errors else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OblakoError as error:
        say(str(error))
        sys.exit(1)
