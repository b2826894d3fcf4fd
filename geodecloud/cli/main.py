"""The group of all commands, and how each of them ends."""

from __future__ import annotations

import importlib
import signal
import sys
from types import FrameType
from typing import NoReturn

import click

from geodecloud import __version__
from geodecloud.cli.progress import Reporter
from geodecloud.errors import GeodecloudError
from geodecloud.progress import Cancelled

# Names and one-line helps stand here, so that --help imports no command.
COMMANDS = {
    "decloud": ("geodecloud.cli.decloud:decloud", "Remove clouds from a scene."),
    "batch": ("geodecloud.cli.batch:batch", "Remove clouds from all scenes of a STAC catalog."),
    "mask": ("geodecloud.cli.mask:mask", "Write where the clouds of a scene are."),
    "clouds": ("geodecloud.cli.clouds:clouds", "Hang a synthetic sky over a clear scene."),
    "translate": ("geodecloud.cli.translate:translate", "Draw a scene or its chips anew."),
    "chip": ("geodecloud.cli.chips:chip", "Cut scenes into chips."),
    "mosaic": ("geodecloud.cli.chips:mosaic", "Put chips together into a scene."),
    "pack": ("geodecloud.cli.learn:pack", "Pack chips or scenes to train from."),
    "train": ("geodecloud.cli.learn:train", "Train a model."),
    "calibrate": ("geodecloud.cli.calibrate:calibrate", "Teach a model how far it may be off."),
    "evaluate": ("geodecloud.cli.evaluate:evaluate", "Measure a model beside naive answers."),
    "benchmark": ("geodecloud.cli.benchmark:benchmark", "Measure models on suites of scenes."),
    "compare": ("geodecloud.cli.look:compare", "Make a before/after page with a swipe bar."),
    "info": ("geodecloud.cli.look:info", "Show what a scene is made of."),
    "models": ("geodecloud.cli.models:models", "List the models here, show one, hand it on."),
    "doctor": ("geodecloud.cli.look:doctor", "Check this installation."),
}


class _Commands(click.Group):
    """A group that imports a command when it is called, not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command of this name; None where there is none."""
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name][0].split(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, short) for name, (_, short) in COMMANDS.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="geodecloud")
def root() -> None:
    """Remove clouds from Sentinel-2 scenes; clear pixels leave bit-identical."""


def main() -> NoReturn:
    """Run the command line; exit 0 done, 1 any error, 3 a batch with failures, 130 stopped."""
    signal.signal(signal.SIGTERM, _stop)
    if sys.platform == "win32":
        signal.signal(signal.SIGBREAK, _stop)  # what a program there can send to stop another
    reporter = Reporter()
    try:
        code = root.main(standalone_mode=False, obj=reporter)
    except GeodecloudError as error:
        code = reporter.fail(error)
    except click.ClickException as error:
        code = reporter.refuse(error)
    except (KeyboardInterrupt, Cancelled, click.Abort):
        code = reporter.stopped()
    except BrokenPipeError:
        sys.stderr.close()  # whoever read us has gone: there is nobody to tell
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise Cancelled
