"""What is measured against: an engine, a control plane of the benchmarks' own, a plain moto server.

All that is made carries one label and is swept at the end; nothing else is touched.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oblako_magic.cloud import Ec2
from oblako_magic.controlplane import process
from oblako_magic.engine import Engine, build, connect
from oblako_magic.errors import OblakoError
from oblako_magic.settings import Settings
from tests.support.sweep import RUN, sweep

REGION = "us-east-1"
TYPE = "t3.micro"


@dataclass
class World:
    """The surroundings of one run.

    Parameters
    ----------
    folder : Path
        Of this run alone.
    engine : Engine or None
        None where no engine answers: what needs one is left out.
    label : str
        On everything that is made.
    quick : bool
        Few rounds: to see that it works, not to quote.
    """

    folder: Path
    engine: Engine | None
    label: str
    quick: bool

    def rounds(self, full: int, quick: int) -> int:
        """How often to measure."""
        return quick if self.quick else full

    def settings(self, name: str) -> Settings:
        """Settings with a state directory of its own."""
        return Settings.from_env({**os.environ, "OBLAKO_STATE_DIR": str(self.folder / name)})

    @contextmanager
    def control_plane(self, name: str) -> Iterator[Ec2]:
        """A control plane that runs meanwhile."""
        settings = self.settings(name)
        process.ensure(settings, 120)
        try:
            yield Ec2(settings, region=REGION)
        finally:
            process.stop(settings)


@contextmanager
def world(folder: Path, quick: bool) -> Iterator[World]:
    """Find the engine, set the environment, and sweep in the end."""
    run = f"bench-{uuid.uuid4().hex[:8]}"
    for name in [key for key in os.environ if key.startswith("AWS_") and key != "AWS_CA_BUNDLE"]:
        del os.environ[name]
    empty = str(folder / "no-aws-files")
    os.environ.update(
        OBLAKO_STATE_DIR=str(folder / "state"),
        OBLAKO_LABELS=f"{RUN}={run}",
        OBLAKO_EC2_IMAGE=build.TINY_IMAGE,
        AWS_CONFIG_FILE=empty,
        AWS_SHARED_CREDENTIALS_FILE=empty,
        IPYTHONDIR=str(folder / "ipython"),
    )
    try:
        engine: Engine | None = connect(Settings.from_env())
        assert engine is not None
        build.build_tiny(engine.api)
    except OblakoError as error:
        print(f"without an engine: {error}", file=sys.stderr)
        engine = None
    try:
        yield World(folder, engine, run, quick)
    finally:
        if engine is not None:
            for left in sweep(engine.api, f"{RUN}={run}"):
                print(f"swept: {left}", file=sys.stderr)
            engine.close()


def client(url: str, region: str = REGION) -> Any:
    """A boto3 client with the settings that ``Ec2`` uses, for either server."""
    import boto3
    from botocore.config import Config

    return boto3.session.Session().client(
        "ec2",
        endpoint_url=url,
        region_name=region,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(proxies={}, connect_timeout=5, read_timeout=300, retries={"total_max_attempts": 1}),
    )


_MOTO = """
import sys, time
from moto.server import ThreadedMotoServer
ThreadedMotoServer(ip_address="127.0.0.1", port=int(sys.argv[1]), verbose=False).start()
time.sleep(86400)
"""


@contextmanager
def plain_moto() -> Iterator[str]:
    """The URL of a plain moto server in a process of its own."""
    port = process.free_port()
    server = subprocess.Popen(
        [sys.executable, "-c", _MOTO, str(port)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        until_moto_answers(url)
        yield url
    finally:
        server.terminate()
        server.wait()


def until_moto_answers(url: str, timeout: float = 120) -> None:
    """Wait for a plain moto server."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        with suppress(OSError):
            urllib.request.urlopen(f"{url}/moto-api/data.json", timeout=5).read()
            return
        time.sleep(0.02)
    raise TimeoutError(f"the moto server at {url} does not answer")
