"""What one layer fires on one sample at several threshold scales: Figure 4 of the paper."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.errors import DataError, UsageError
from ahsar_eval.evaluation.networks import load_networks
from ahsar_eval.evaluation.requests import NetworkOptions, RasterRequest
from ahsar_eval.evaluation.sets import named_or_given, trained_on
from ahsar_eval.homeostasis import read_thresholds
from ahsar_eval.provenance import provenance
from ahsar_eval.recording import describe
from ahsar_eval.recording.runner import Runner
from ahsar_eval.results.results import Kind, Results
from ahsar_eval.results.table import Column, Table

MOST_NEURONS = 160
COLUMNS = [
    Column("checkpoint", "checkpoint"),
    Column("setting", "s"),
    Column("factor", "factor of the layer"),
    Column("threshold", "θ"),
    Column("rate", "rate"),
]


def _tables(results: Results, detail: bool) -> list[Table]:
    rows = results.records["panel"]
    first = rows[0]
    title = f"Layer {first['layer_index']} on sample {first['sample']} of {first['set']}"
    return [Table(title, COLUMNS, rows, names=("checkpoint",))]


RASTER = Kind(
    "raster",
    axes=("checkpoint", "layer", "layer_index", "set", "sample", "class", "setting", "scale"),
    tables=_tables,
    notes=lambda results: ["rate: spikes per neuron and time step; θ: the layer's threshold."],
    n="neurons",
)


def planned(
    checkpoints: Sequence[str], request: RasterRequest, network: NetworkOptions
) -> tuple[RasterRequest, list[Runner]]:
    """The request with what was left open in it, and a runner for each checkpoint by name. Raises
    kinds of `AhsarError`.
    """
    request, name = requested(request), request.data_name or None
    runners = load_networks(checkpoints, network, data_name=name, data=request.data)
    return replace(request, data_name=name or trained_on(runners)), runners


def requested(request: RasterRequest) -> RasterRequest:
    """`request` with scales as numbers, None for "ahsar". Raises `UsageError`."""
    asked = request.scales.split(",") if isinstance(request.scales, str) else request.scales
    scales: list[float | None] = []
    for one in asked:
        if one is None or (isinstance(one, str) and one.strip().lower() == "ahsar"):
            scales.append(None)
            continue
        try:
            scale = float(one)
        except ValueError:
            scale = math.nan
        scales.append(scale)
        if not 0 < scale < math.inf:
            raise UsageError(
                f"--scales holds {str(one).strip()!r}; expected positive numbers separated by "
                "commas, and the word ahsar"
            )
    return replace(request, scales=tuple(scales))


def run(request: RasterRequest, runners: Sequence[Runner]) -> Results:
    """A record "panel" for each network and scale, its numbers None where the network has no scales
    to replay; arrays NAME/image [C, H, W] (time mean for events), NAME/neurons (the indices that a
    raster shows), NAME/SETTING/spikes bool [T, *shape] and NAME/SETTING/map.

    Raises `DataError` for a sample that is not there, `UsageError` for a network without a
    controller where its replayed scales alone are asked for.
    """
    panels, arrays, facts = [], {}, []
    for runner in runners:
        name, regulated = runner.checkpoint.name, runner.checkpoint.has_scales
        split = named_or_given(request.data_name, request, runner)
        if not 0 <= request.sample < len(split):
            raise DataError(
                f"sample {request.sample} is not in {split.name}, which has samples 0 to "
                f"{len(split) - 1}"
            )
        if not regulated and set(request.scales) == {None}:
            raise UsageError(
                f"{name} has no controller and so no replayed scales; name factors in --scales"
            )
        base = read_thresholds(runner.at_scale(1.0).network.backbone)
        rows = []
        for scale in request.scales:
            setting = "ahsar" if scale is None else np.format_float_positional(scale, trim="-")
            measured = dict.fromkeys(("factor", "threshold", "rate"))
            if scale is not None or regulated:
                recording, trace = runner.at_scale(scale).traced(split, request.sample)
                shown = recording.layer(request.layer).name
                index = [layer.name for layer in recording.layers].index(shown)
                classes = split.source.classes
                label = classes[trace.label] if 0 <= trace.label < len(classes) else ""
                threshold, spikes = float(recording.thresholds[shown]), trace.spikes[shown]
                measured = {"factor": threshold / base[shown], "threshold": threshold}
                measured["rate"] = float(spikes.mean())
                arrays[f"{name}/image"] = trace.image.mean(axis=0)
                arrays[f"{name}/neurons"] = shown_neurons(spikes[0].size)
                arrays[f"{name}/{setting}/spikes"] = spikes
                arrays[f"{name}/{setting}/map"] = firing_map(spikes)
            rows.append({"setting": setting, "scale": scale, **measured})
        where = {"checkpoint": name, "layer": shown, "layer_index": index, "set": split.name}
        where |= {"sample": request.sample, "class": label, "neurons": int(spikes[0].size)}
        panels += [{**where, **row} for row in rows]
        facts.append({**runner.facts(), "data": describe(split)})
    return Results(
        RASTER, {"panel": panels}, provenance(seed=request.seed, checkpoints=facts), arrays=arrays
    )


def shown_neurons(neurons: int, most: int = MOST_NEURONS) -> NDArray[np.int64]:
    """Indices of the neurons a raster shows, ascending: all of them, or `most` drawn once and for
    all; the same for every panel.

    They are drawn, not evenly spaced: a regular stride over [C, H, W] meets the same few columns of
    every channel.
    """
    if neurons <= most:
        return np.arange(neurons)
    drawn = np.random.Generator(np.random.Philox(key=[neurons, most]))
    return np.sort(drawn.choice(neurons, most, replace=False))


def firing_map(spikes: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Firing-rate map [H, W]: mean over time and channels of spikes [T, C, H, W]; a layer without
    space becomes a near-square sheet.

    The sheet of a layer [T, D] is filled row by row; cells past the last neuron are NaN.
    """
    rate = spikes.mean(axis=0, dtype=np.float64)
    if rate.ndim == 3:
        return rate.mean(axis=0)
    if rate.ndim == 2:
        return rate
    flat = rate.reshape(-1)
    side = int(np.ceil(np.sqrt(len(flat))))
    sheet = np.full(side * -(-len(flat) // side), np.nan)
    sheet[: len(flat)] = flat
    return sheet.reshape(-1, side)
