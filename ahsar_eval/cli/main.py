"""Entry point: the group of commands, and what an error becomes.

Nothing heavy is imported here or at the top of a command's file: `--help` and shell completion come
up without torch.
"""

import io
import sys
import warnings
from collections.abc import Sequence
from functools import partial

import click

from ahsar_eval import __version__
from ahsar_eval.cli.calibrate import calibrate
from ahsar_eval.cli.data import data
from ahsar_eval.cli.evaluations import compare, energy, monitor, ood, raster, sweep
from ahsar_eval.cli.inspect import inspect
from ahsar_eval.cli.report import demo, report
from ahsar_eval.cli.study import study
from ahsar_eval.cli.train import train
from ahsar_eval.errors import AhsarError, AhsarWarning
from ahsar_eval.process import USUAL, freed_memory_kept, is_quiet, set_verbosity

INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, package_name="ahsar-eval", prog_name="ahsar-eval")
def cli() -> None:
    """How a trained spiking network behaves outside its training data, what it costs in energy, and
    what its spikes look like.

    Commands take checkpoints by path or by shipped name; without one, the shipped pair (baseline
    and AHSAR) that was trained for the ID set is used, for sets other than n-mnist, n-mnist-mini,
    cifar10-mini and digits-dvs that of the digits.
    """


@click.command(short_help="Print a shell completion script.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell; evaluate it in the shell's start-up file.

    \b
    eval "$(ahsar-eval completion bash)"
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is not None:
        click.echo(kind(cli, {}, "ahsar-eval", "_AHSAR_EVAL_COMPLETE").source())


for command in (
    *(demo, report, ood, compare, energy, monitor, raster, inspect, calibrate),
    *(train, sweep, study, data, completion),
):
    cli.add_command(command)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 1 where a requirement is not met, 2 for
    anything the user can mend, 130 for Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal without the dash must not cost the result.
            stream.reconfigure(errors="replace")
    set_verbosity(USUAL)
    try:
        with warnings.catch_warnings(), freed_memory_kept():
            warnings.simplefilter("ignore")  # of the libraries beneath
            warnings.simplefilter("always", AhsarWarning)
            warnings.showwarning = partial(_warn, set())
            cli.main(args=arguments, prog_name="ahsar-eval", standalone_mode=False)
        return 0
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except (KeyboardInterrupt, click.Abort):
        return _say(
            "interrupted; nothing was left half-written (a training resumes with the same command)",
            INTERRUPTED,
        )
    except click.ClickException as error:
        context = error.ctx if isinstance(error, click.UsageError) else None
        hint = f" (see {context.command_path} --help)" if context and context.parent else ""
        return _say(error.format_message().rstrip(".") + hint, 2)
    except AhsarError as error:
        return _say(str(error), error.exit_code)
    except (MemoryError, RuntimeError) as error:
        of_memory = ("out of memory", "not enough memory", "allocate memory")
        if isinstance(error, RuntimeError) and not any(words in str(error) for words in of_memory):
            raise
        return _say("the memory is used up; use a smaller --batch-size", 2)
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        return _say(f"{error.strerror or error}{place}; free it or choose another place", 2)


def main() -> None:
    """Console script."""
    sys.exit(run())


def _warn(said: set[str], message: Warning | str, *where: object, **details: object) -> None:
    """Say a sentence once in a command, whatever sets and networks it is true of."""
    sentence = " ".join(str(message).split())
    if is_quiet() or sentence in said:
        return
    said.add(sentence)
    click.echo(f"ahsar-eval: warning: {sentence}", err=True)


def _say(message: str, code: int) -> int:
    click.echo(f"ahsar-eval: {' '.join(message.split())}", err=True)
    return code
