"""`ahsar-eval calibrate`: the rates that homeostasis at test time goes for."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ahsar_eval.cli.commands import Command, announce, own_options, takes
from ahsar_eval.cli.completion import completed
from ahsar_eval.data import DataOptions
from ahsar_eval.errors import OutputError, UsageError
from ahsar_eval.evaluation.requests import NetworkOptions
from ahsar_eval.files import check_folder_writable

if TYPE_CHECKING:
    from ahsar_eval.homeostasis.regulation import SetPoints
    from ahsar_eval.networks.checkpoints import Checkpoint
    from ahsar_eval.results.table import Table


@click.command(
    cls=Command,
    short_help="Rates on data that a network knows, which --adapt layer and channel go for.",
)
@click.argument(
    "checkpoint",
    metavar="CKPT",
    shell_complete=lambda context, _, begun: completed("checkpoint", begun, context),
)
@takes(
    network=NetworkOptions,
    data=DataOptions,
    but=("scale", "no_replay", "precision", "cache", "no_cache", "labels_match"),
)
@own_options("calibrate")
def calibrate(
    checkpoint: str,
    network: NetworkOptions,
    data: DataOptions,
    on: str | None = None,
    out: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Measure the set points of a network: the rate of every spiking layer and channel on samples
    that it knows, with their spread; --adapt layer and --adapt channel bring rates back to them.

    Without --on they are measured on what the network's training held out. They go beside the
    checkpoint, where --adapt finds them. Labels are not needed, and a set that set points were
    measured on is not evaluated with them.

    \b
    ahsar-eval calibrate my.pt
    ahsar-eval calibrate net.nir --timesteps 300 --frames 1ms@0 --on n-mnist --out points.json
    """
    from ahsar_eval.evaluation.calibration import calibrated, measured_on, set_known
    from ahsar_eval.evaluation.inputs import load_networks
    from ahsar_eval.results.text import terminal_width, text_table

    (runner,) = load_networks([checkpoint], network, on, data)
    place = _place(runner.checkpoint, out, overwrite)
    set_known(runner, on)
    points = calibrated(runner, on, data)
    points.save(place)
    click.echo(text_table(set_points_table(points), terminal_width()))
    click.echo(f"\nrates (± standard deviation over samples) of {measured_on(points)}")
    announce([place])


def _place(checkpoint: "Checkpoint", out: Path | None, overwrite: bool) -> Path:
    """Where the set points go. Raises `UsageError` where they would not be found or replace others,
    and `OutputError`.
    """
    from ahsar_eval.evaluation.calibration import measured_on
    from ahsar_eval.networks.checkpoints import set_points_beside

    held, there = checkpoint.set_points, checkpoint.path
    if out is None and held is not None:
        raise UsageError(
            f"{checkpoint.name} holds set points of its own, of {measured_on(held)}; give --out "
            "FILE for others, and that file to --set-points"
        )
    place = out or set_points_beside(there or Path(checkpoint.name))
    if place.is_dir():
        raise OutputError(f"cannot write {str(place)!r}: it is a folder; name a file")
    if place.exists() and not overwrite:
        what = f"{checkpoint.name} has set points already" if out is None else "it is there already"
        raise UsageError(
            f"{what} ({place}); give --overwrite to replace them, or --out another file"
        )
    check_folder_writable(place.parent)
    return place


def set_points_table(points: "SetPoints") -> "Table":
    """Set points by layer."""
    from ahsar_eval.evaluation.calibration import rows_of
    from ahsar_eval.results.table import Table, read_columns

    return Table("", read_columns(__file__, "calibrate")["set_points"], list(rows_of(points)))
