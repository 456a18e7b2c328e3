"""``%ec2`` and ``%%ec2``: parse, call, show. The subcommands are in ``commands/``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class, needs_local_scope, no_var_expand
from traitlets import Bool, Float, Int, Unicode

from ..errors import OblakoError
from . import stream
from .dispatch import run_line
from .expand import Expander
from .failures import Interrupted, internal, one_line
from .jobs import Job
from .parser import MAGIC, overview_text
from .session import Preferences, Session
from .switch import Switch

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from ..cloud import Ec2

DEBUG = "--debug"


_F = TypeVar("_F", bound=Callable[..., Any])


def _magic(function: _F) -> _F:
    """Mark a method as ``%ec2`` and ``%%ec2`` that expands its line itself; IPython's decorators lose the type."""
    marked: Any = function
    decorators: list[Any] = [line_cell_magic("ec2"), needs_local_scope, no_var_expand]
    for decorate in decorators:
        marked = decorate(marked)
    return cast(_F, marked)


@magics_class
class Ec2Magics(Magics):
    """The magics; its traits are set in a configuration file or by ``%config Ec2Magics.timeout = 300``."""

    default_type = Unicode("t3.micro", help="Instance type of run without --type.").tag(config=True)
    default_image = Unicode("", help="Image of run without --image; empty leaves it to OBLAKO_EC2_IMAGE.").tag(
        config=True
    )
    timeout = Float(0.0, help="Seconds that a wait lasts without --timeout; 0 leaves it to each.").tag(config=True)
    output_limit = Int(stream.SHOWN, help="Characters of a command's output that a cell shows.").tag(config=True)
    progress = Bool(True, help="Whether long waits show what they wait for.").tag(config=True)

    widgets = Bool(True, help="Whether a list of instances is shown live, where the front end shows widgets.").tag(
        config=True
    )

    def __init__(self, shell: InteractiveShell, **traits: Any) -> None:
        super().__init__(shell, **traits)
        self.switch = Switch()
        self.jobs: list[Job] = []
        self._ec2: Ec2 | None = None
        self.seen: list[tuple[str, str]] = []
        self.seen_notebooks: list[str] = []

    def connect(self) -> Ec2:
        """The ``Ec2`` of this kernel, made on first need."""
        if self._ec2 is None:
            from ..cloud import Ec2

            self._ec2 = Ec2()
            self._ec2.front_end = "ipython" if getattr(self.shell, "kernel", None) is None else "kernel"
        return self._ec2

    def known(self) -> list[tuple[str, str]]:
        """Ids and names for completion: of what was seen last, or when the extension was loaded."""
        return (self._ec2.cached() if self._ec2 is not None else []) or self.seen

    def known_notebooks(self) -> list[str]:
        """Names of notebook instances for completion, as ``known``."""
        return (self._ec2.notebooks.cached() if self._ec2 is not None else []) or self.seen_notebooks

    def close(self) -> None:
        """Stop what runs in the background and put the environment back."""
        for job in self.jobs:
            job.stop()
        self.jobs.clear()
        self.switch.off()

    @_magic
    def ec2(self, line: str, cell: str | None = None, local_ns: dict[str, Any] | None = None) -> Any:
        """Replaced below by the registry's help."""
        debug = line.split(None, 1)[:1] == [DEBUG]
        if debug:
            line = line.strip()[len(DEBUG) :]
        shell: Any = self.shell
        user_ns: dict[str, Any] = shell.user_ns
        session = Session(
            self.connect,
            names=user_ns,
            expander=Expander({**user_ns, **(local_ns or {})}),
            preferences=Preferences(
                self.default_type, self.default_image, self.timeout, self.output_limit, self.progress
            ),
            shell=shell,
            body=cell,
            switch=self.switch,
            jobs=self.jobs,
        )
        # Imported here: it needs the registry, which loading the extension doesn't.
        from .commands.control import overview

        try:
            value = run_line(session, line, overview)
            self._follow_endpoint()
            return value
        except UsageError as error:
            # IPython shows the plain class in one line; the chain below would be kept alive for nothing.
            raise UsageError(" ".join(str(error).split())) from None
        except (OblakoError, Interrupted) as error:
            if not debug:
                one_line(error)
            raise
        except KeyboardInterrupt:
            raise one_line(Interrupted("interrupted; nothing was undone.")) from None
        except Exception as error:
            if debug:
                raise
            raise one_line(internal(error, self._log_file(), f"{MAGIC} {DEBUG} {line.strip()[:40]}")) from error

    def _follow_endpoint(self) -> None:
        """Lead the kernel's clients to where the control plane listens now: its port may have been taken."""
        if self._ec2 is not None and self.switch.is_on and self._ec2.endpoint_url not in self.switch.variables.values():
            self.switch.on(self._ec2.environment())

    @staticmethod
    def _log_file() -> str:
        from ..settings import Settings

        try:
            return str(Settings.from_env().log_file)
        except OblakoError:
            return ""


def document() -> None:
    """Make ``%ec2?`` show the registry's help."""
    Ec2Magics.ec2.__doc__ = overview_text()
