"""Reporter: how a command says what it does, to people and to programs."""

from __future__ import annotations

import _thread
import itertools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from geodecloud import __version__
from geodecloud.errors import GeodecloudError
from geodecloud.progress import PROTOCOL, PROTOCOL_VERSION, Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

MODES = ("auto", "rich", "json", "none")
STOP_SECONDS = 5.0

Command = TypeVar("Command", bound=Callable[..., Any])


class Reporter:
    """What a command tells while it works: bars for people, JSON lines for programs.

    Three verbs: ``open`` (who works, on what), the reporter itself called with each ``Progress``,
    ``close`` (the result). In mode "json" every line on stdout is one object with an ``event``:
    ``start`` first, then ``progress``, ``note``, and last ``result``, ``error`` or ``cancelled``.
    """

    def __init__(self) -> None:
        """Start silent; the option of the command sets the mode."""
        self.mode = "none"
        self._bars: Bars | None = None
        self._tasks: dict[str, Any] = {}

    def set_mode(self, mode: str) -> None:
        """Choose how to speak; "auto" draws bars where somebody watches."""
        self.mode = ("rich" if sys.stderr.isatty() else "none") if mode == "auto" else mode

    def open(self, command: str, *, device: str, model: str) -> None:
        """Say who works: the first line of the protocol."""
        self._event(
            "start",
            protocol=PROTOCOL,
            version=PROTOCOL_VERSION,
            geodecloud=__version__,
            command=command,
            device=device,
            model=model,
        )

    def __call__(self, progress: Progress) -> None:
        """Tell how far the work is."""
        if self.mode == "json":
            self._event(
                "progress",
                done=progress.done,
                total=progress.total,
                message=progress.message,
                metrics=dict(progress.metrics),
            )
        elif self.mode == "rich":
            self._draw(progress)

    def note(self, text: str) -> None:
        """Say one thing that the user should know."""
        if self.mode == "json":
            self._event("note", message=text)
        else:
            click.echo(f"note: {text}", err=True)

    def close(self, result: Mapping[str, Any], summary: str) -> None:
        """Give the result: the summary to people, the mapping too to programs."""
        self._clear()
        if self.mode == "json":
            self._event("result", **{"summary": summary, **result})
        else:
            click.echo(summary)

    def fail(self, error: GeodecloudError) -> int:
        """Say what went wrong in one line; returns the exit code."""
        self._clear()
        if self.mode == "json":
            self._event(
                "error",
                kind=type(error).__name__,
                message=str(error),
                found=error.found,
                expected=error.expected,
                todo=error.todo,
            )
        click.echo(f"error: {error}", err=True)
        return 1

    def refuse(self, error: click.ClickException) -> int:
        """Say that the command was called in a way that it does not know; returns the exit code.

        Its options have not been read then: the words of the call say whether a program listens.
        """
        words = sys.argv
        if ("--progress", "json") in itertools.pairwise(words) or "--progress=json" in words:
            self.mode = "json"
            self._event("error", kind="UsageError", message=error.format_message())
        error.show()
        return 1

    def stopped(self) -> int:
        """Say that the user stopped the work; returns the exit code."""
        self._clear()
        if self.mode == "json":
            self._event("cancelled")
        click.echo("stopped; nothing was left half-written", err=True)
        return 130

    def _event(self, event: str, **values: Any) -> None:
        if self.mode == "json":
            sys.stdout.write(json.dumps({"event": event, **values}) + "\n")
            sys.stdout.flush()

    def _draw(self, progress: Progress) -> None:
        if self._bars is None:
            self._bars = _bars_with_figures()
            self._bars.start()
        if progress.message not in self._tasks:
            self._tasks[progress.message] = self._bars.add_task(progress.message, figures="")
        self._bars.update(
            self._tasks[progress.message],
            completed=progress.done,
            total=progress.total,
            figures=in_words(progress.metrics),
        )

    def _clear(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars, self._tasks = None, {}


def _bars_with_figures() -> Bars:
    """Bars on stderr, and below them the figures of their tasks, which no bar cuts short."""
    from rich.console import Console, RenderableType
    from rich.progress import Progress as Bars
    from rich.text import Text

    class WithFigures(Bars):
        def get_renderables(self) -> Iterable[RenderableType]:
            yield from super().get_renderables()
            for task in self.tasks:
                if figures := task.fields["figures"]:
                    yield Text(figures, style="dim")

    return WithFigures(console=Console(stderr=True))


def in_words(metrics: Mapping[str, float]) -> str:
    """Return figures as people read them: the epoch first, speeds last.

    Example:
        >>> in_words({"l1_loss": 12.3456, "chips_per_second": 210.4, "epoch": 3.0})
        'epoch 3  l1_loss 12.35  210 chips/s'
    """
    epoch = [f"epoch {metrics['epoch']:.0f}"] if "epoch" in metrics else []
    chips = metrics.get("chips_per_second")
    plain = [
        f"{name} {value:.4g}"
        for name, value in metrics.items()
        if name != "epoch" and not name.endswith("_per_second")
    ]
    return "  ".join([*epoch, *plain, *([] if chips is None else [f"{chips:.0f} chips/s"])])


def progress_option(command: Command) -> Command:
    """Add ``--progress`` and, for programs, ``--watch-stdin``; the context's obj reports."""

    def set_mode(ctx: click.Context, _: click.Parameter, mode: str) -> None:
        ctx.ensure_object(Reporter).set_mode(mode)

    def watch(_: click.Context, __: click.Parameter, wanted: bool) -> None:
        if wanted:
            threading.Thread(target=_exit_when_stdin_closes, daemon=True).start()

    command = click.option(
        "--watch-stdin",
        is_flag=True,
        hidden=True,
        expose_value=False,
        callback=watch,
        help="Stop when standard input closes, as it does when the calling program dies.",
    )(command)
    return click.option(
        "--progress",
        type=click.Choice(MODES),
        default="auto",
        show_default=True,
        expose_value=False,
        is_eager=True,
        callback=set_mode,
        help="How to report: bars, JSON lines for programs, or nothing.",
    )(command)


def _exit_when_stdin_closes() -> None:
    # os.read, not sys.stdin.read: the lock of the latter aborts the interpreter at its end
    while os.read(0, 4096):
        pass
    # the main thread clears away and exits
    if sys.platform == "win32":  # where os.kill would end the process on the spot
        _thread.interrupt_main(signal.SIGTERM)
    else:
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_SECONDS)
    os._exit(130)
