"""The `edgekiln` program: subcommands imported when they are asked for, errors as two lines."""

import importlib
import os
import traceback
from importlib import metadata
from typing import Any, NoReturn

import click

from edgekiln.compiler.build.stage_table import STAGES
from edgekiln.runtime.errors import EXIT_INTERRUPTED, EXIT_TERMINATED, EdgeKilnError
from edgekiln.runtime.limits import unreachable
from edgekiln.runtime.termination import WATCHED, TerminatedError, unwound_by_sigterm

COMMANDS = {
    "build": "edgekiln.compiler.cli.build:build",
    **dict.fromkeys(STAGES, "edgekiln.compiler.cli.stages:StageCommand"),
    "slim": "edgekiln.compiler.cli.slim:slim",
    "sweep": "edgekiln.compiler.cli.sweep:sweep",
    "search": "edgekiln.compiler.cli.search:search",
    "pick": "edgekiln.compiler.cli.pick:pick",
    "sensitivity": "edgekiln.compiler.cli.sensitivity:sensitivity",
    "run": "edgekiln.compiler.cli.run:run",
    "verify": "edgekiln.compiler.cli.verify:verify",
    "tune": "edgekiln.compiler.cli.tune:tune",
    "bench": "edgekiln.compiler.cli.bench:bench",
    "estimate": "edgekiln.compiler.cli.estimate:estimate",
    "ci": "edgekiln.compiler.cli.ci:ci",
    "merge": "edgekiln.compiler.cli.merge:merge",
    "compare": "edgekiln.compiler.cli.compare:compare",
    "report": "edgekiln.compiler.cli.report:report",
    "sign": "edgekiln.compiler.cli.sign:sign",
    "verify-signature": "edgekiln.compiler.cli.sign:verify_signature",
    "devices": "edgekiln.compiler.cli.devices:devices",
    "targets": "edgekiln.compiler.cli.targets:targets",
    "models": "edgekiln.compiler.cli.models:models",
    "cache": "edgekiln.compiler.cli.cache:cache",
    "schema": "edgekiln.compiler.cli.schema:schema",
    "doctor": "edgekiln.compiler.cli.doctor:doctor",
}

# Earlier names, which go on working and are not listed.
ALIASES = {"gather": "merge"}

EPILOG = """\b
Exit codes
  0  done
  1  a bug of ours, with a traceback
  2  a wrong option, name or recipe
  3  a model, checkpoint, data set or image that cannot be read
  4  something in the model that cannot be compiled
  5  a tool or package that is not installed
  6  a stage lost more accuracy than --max-drop allows
  7  two programs that must agree do not
  8  a bundle that is damaged or made for another machine
  9  a full or read-only disk, or a closed standard output
 10  training that cannot go on
 11  a demanded property does not hold, such as --strict-int8
 12  a measurement that failed or was too noisy
 13  a device that is busy or cannot be reached
130  interrupted; the same command goes on where it stopped
141  nobody reads what is printed any more, as behind | head
143  terminated, by SIGTERM; the same command goes on where it stopped
"""


class LazyGroup(click.Group):
    """Knows its commands by name and imports the one that runs."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = ALIASES.get(cmd_name, cmd_name)
        if name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = COMMANDS[name].partition(":")
        found = getattr(importlib.import_module(module), attribute)
        # Stages share a class of command, whose options are those of the stage it is given.
        command: click.Command = found(name) if name in STAGES else found
        return command

    def invoke(self, ctx: click.Context) -> Any:  # as click has it
        """Run the subcommand; the user's errors become two lines and an exit code."""
        try:
            with unwound_by_sigterm():
                return super().invoke(ctx)
        except EdgeKilnError as error:
            # What a user can cause. Anything else is a bug, and leaves with Python's own traceback,
            # and 1.
            _refuse(ctx, error)
        except OSError as error:
            if (refused := unreachable(error)) is None:
                raise
            _refuse(ctx, refused)
        except KeyboardInterrupt as error:
            if ctx.params["debug"]:
                traceback.print_exc()
            by_signal = isinstance(error, TerminatedError)
            ended = "terminated" if by_signal else "interrupted"
            if WATCHED not in os.environ:
                click.echo(f"{ended}; run the same command again to resume", err=True)
            ctx.exit(EXIT_TERMINATED if by_signal else EXIT_INTERRUPTED)


def _refuse(ctx: click.Context, error: EdgeKilnError) -> NoReturn:
    if ctx.params["debug"]:
        traceback.print_exc()
    click.echo(f"error: {error.message}", err=True)
    if error.hint:
        click.echo(f" hint: {error.hint}", err=True)
    ctx.exit(error.exit_code)


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(metadata.version("edgekiln"), prog_name="edgekiln")
@click.option("--debug", is_flag=True, help="Show the traceback of errors, too.")
def edgekiln(debug: bool) -> None:
    """A PyTorch model in; a small, fast, verified int8 program for one chip out.

    \b
      edgekiln build resnet8                      the whole chain, on real digits, for this machine
      edgekiln bench dist/resnet8-host.ekb        how fast the result is here
      edgekiln doctor                             what is installed and what is missing
    """
