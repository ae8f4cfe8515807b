"""`ahsar-eval raster`: Figure 4 of the paper."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ahsar_eval.cli.common import (
    announce,
    check_figure,
    checkpoint_options,
    data_or_trained_on,
    make_runners,
    precision_option,
)
from ahsar_eval.cli.data_options import data_options
from ahsar_eval.errors import UsageError

if TYPE_CHECKING:
    from ahsar_eval.data import DataOptions


@click.command(
    short_help="Spike rasters and firing-rate maps at several threshold scales (Figure 4)."
)
@checkpoint_options
@precision_option
@click.option(
    "--layer",
    default="0",
    show_default=True,
    metavar="LAYER",
    help="A spiking layer, by index in depth or by name.",
)
@click.option(
    "--scales",
    default="0.25,0.5,1,2,ahsar",
    show_default=True,
    help="Threshold factors, and ahsar for the replayed scales.",
)
@click.option(
    "--data",
    "data_name",
    metavar="NAME",
    help="The set (test split); default: the one the checkpoint was trained on.",
)
@click.option(
    "--sample",
    default=0,
    show_default=True,
    type=int,
    metavar="I",
    help="Index of the sample in the set.",
)
@click.option(
    "--seed", default=0, show_default=True, type=int, help="Seed of a shift's randomness."
)
@click.option(
    "--out",
    default="raster.png",
    show_default=True,
    type=click.Path(path_type=Path),
    help="PNG, PDF or SVG by suffix; arrays go beside it as .arrays.npz.",
)
@data_options
def raster(
    checkpoints: tuple[str, ...],
    layer: str,
    scales: str,
    data_name: str | None,
    sample: int,
    seed: int,
    out: Path,
    data: "DataOptions",
    **options: Any,
) -> None:
    """One column per threshold factor, applied to every layer, and one for AHSAR's replayed scales:
    raster above, rate map below.

    Every column shows the same sample and neurons, and the maps share one colour scale.

    \b
    ahsar-eval raster --layer 5
    ahsar-eval raster my.pt --layer lif1 --scales 0.5,1,ahsar --out figure.pdf
    """
    wanted = parse_scales(scales)
    check_figure(out)
    runners = make_runners(checkpoints, data_name=data_name, data=data, **options)
    name = data_or_trained_on(data_name, runners)

    from ahsar_eval.evaluation.raster import RasterRequest, run
    from ahsar_eval.plots.of_results import plot

    request = RasterRequest(name, layer, tuple(wanted), sample, seed, data)
    plot(run(request, runners), out=out)
    announce([out, out.with_suffix(".arrays.npz")])


def parse_scales(text: str) -> list[float | None]:
    """'0.25,1,ahsar' as numbers, None for ahsar. Raises `UsageError`."""
    wanted: list[float | None] = []
    for part in text.split(","):
        if part.strip().lower() == "ahsar":
            wanted.append(None)
            continue
        try:
            value = float(part)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value > 0):
            raise UsageError(
                f"--scales holds {part.strip()!r}; expected positive numbers separated by commas, "
                "and the word ahsar"
            )
        wanted.append(value)
    return wanted
