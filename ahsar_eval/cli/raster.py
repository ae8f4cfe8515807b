"""`ahsar-eval raster`: Figure 4 of the paper."""

from pathlib import Path

import click

from ahsar_eval.cli.options import Command, option, takes
from ahsar_eval.cli.output import announce, check_figure, checkpoints
from ahsar_eval.evaluation.requests import NetworkOptions, RasterRequest


@click.command(
    cls=Command,
    short_help="Spike rasters and firing-rate maps at several threshold scales (Figure 4).",
)
@checkpoints
@takes(RasterRequest, "request")
@takes(NetworkOptions, "network")
@option(
    "--out",
    default="raster.png",
    show_default=True,
    type=click.Path(path_type=Path),
    help="PNG, PDF or SVG by suffix; arrays go beside it as .arrays.npz.",
)
def raster(
    checkpoints: tuple[str, ...], request: RasterRequest, network: NetworkOptions, out: Path
) -> None:
    """One column per threshold factor, applied to every layer, and one for AHSAR's replayed scales:
    raster above, rate map below.

    Every column shows the same sample and neurons, and the maps share one colour scale.

    \b
    ahsar-eval raster --layer 5
    ahsar-eval raster my.pt --layer lif1 --scales 0.5,1,ahsar --out figure.pdf
    """
    check_figure(out)
    from ahsar_eval.evaluation.raster import planned, run
    from ahsar_eval.plots.of_results import plot

    plot(run(*planned(checkpoints, request, network)), out=out)
    announce([out, out.with_suffix(".arrays.npz")])
