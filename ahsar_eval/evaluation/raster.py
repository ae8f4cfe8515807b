"""What one layer fires on one sample at several threshold scales: Figure 4 of the paper."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.data.events.frames import drawn
from ahsar_eval.errors import DataError, UsageError
from ahsar_eval.evaluation.inputs import Plan, own_split
from ahsar_eval.evaluation.requests import RasterRequest, scale_values
from ahsar_eval.homeostasis import read_thresholds
from ahsar_eval.provenance import provenance
from ahsar_eval.recording.runner import Runner
from ahsar_eval.results.results import Kind, Results
from ahsar_eval.results.table import Table, read_columns

MOST_NEURONS = 160
COLUMNS = read_columns(__file__, "raster")


def _tables(results: Results, detail: bool) -> list[Table]:
    rows = results.records["panel"]
    title = "Layer {layer_index} on sample {sample} of {set}".format(**rows[0])
    return [Table(title, COLUMNS["panels"], rows, names=("checkpoint",))]


RASTER = Kind(
    "raster",
    axes=("checkpoint", "layer", "layer_index", "set", "sample", "class", "setting", "scale"),
    tables=_tables,
    notes=lambda results: ["rate: spikes per neuron and time step; θ: the layer's threshold."],
    n="neurons",
)


def requested(request: RasterRequest) -> RasterRequest:
    """`request` with scales as numbers, None for "ahsar". Raises `UsageError`."""
    asked = request.scales.split(",") if isinstance(request.scales, str) else request.scales
    scales: list[float | None] = []
    for one in asked:
        replayed = one is None or str(one).strip().lower() == "ahsar"
        scales += [None] if replayed else scale_values(str(one), "; or ahsar")
    return replace(request, scales=tuple(scales))


def plan(request: RasterRequest, runner: Runner) -> Plan:
    """The set that the sample is of. Raises `DataError` for a sample that is not there,
    `UsageError` for a network without a controller where its replayed scales alone are asked for.
    """
    split = own_split(request, runner)
    if not 0 <= request.sample < len(split):
        raise DataError(
            f"sample {request.sample} is not in {split.name}, which has samples 0 to "
            f"{len(split) - 1}"
        )
    if not runner.checkpoint.scales and set(request.scales) == {None}:
        raise UsageError(
            f"{runner.checkpoint.name} has no controller and so no replayed scales; name factors "
            "in --scales"
        )
    runner.check_scales(request.scales)
    return Plan(runner, split)


def evaluation(request: RasterRequest, plans: Sequence[Plan]) -> Results:
    """A record "panel" for each network and scale, its numbers None where the network has no scales
    to replay; arrays NAME/image [C, H, W] (`drawn`) and NAME/inputs (`inputs_by_step`),
    NAME/neurons (the indices that a raster shows), NAME/SETTING/spikes bool [T, *shape],
    NAME/SETTING/map [H, W], and NAME/SETTING/maps [T, H, W], that of each step alone.
    """
    panels: list[dict[str, Any]] = []
    arrays: dict[str, NDArray[Any]] = {}
    for one in plans:
        runner, split, name = one.runner, one.id_split, one.runner.checkpoint.name
        base = read_thresholds(runner.at_scale(1.0).network.backbone)
        rows = []
        for scale in request.scales:
            setting = "ahsar" if scale is None else np.format_float_positional(scale, trim="-")
            measured = dict.fromkeys(("factor", "threshold", "rate"))
            if scale is not None or runner.checkpoint.scales:
                recording, trace = runner.at_scale(scale).traced(split, request.sample)
                shown = recording.layer(request.layer).name
                index = [layer.name for layer in recording.layers].index(shown)
                classes = split.source.classes
                label = classes[trace.label] if 0 <= trace.label < len(classes) else ""
                threshold, spikes = recording.thresholds.get(shown), trace.spikes[shown]
                if threshold is not None:  # a neuron of another framework may have none
                    measured |= {"factor": threshold / base[shown], "threshold": threshold}
                measured["rate"] = float(spikes.mean())
                arrays |= {
                    f"{name}/image": drawn(trace.image),
                    f"{name}/inputs": inputs_by_step(trace.image),
                    f"{name}/neurons": shown_neurons(spikes[0].size),
                    f"{name}/{setting}/spikes": spikes,
                    f"{name}/{setting}/map": firing_map(spikes),
                    f"{name}/{setting}/maps": np.stack([firing_map(step[None]) for step in spikes]),
                }
            rows.append({"setting": setting, "scale": scale, **measured})
        where = {"checkpoint": name, "layer": shown, "layer_index": index, "set": split.name}
        where |= {"sample": request.sample, "class": label, "neurons": int(spikes[0].size)}
        panels += [{**where, **row} for row in rows]
    facts = [one.facts("data") for one in plans]
    origin = provenance(seed=request.seed, checkpoints=facts)
    return Results(RASTER, {"panel": panels}, origin, arrays=arrays)


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


def inputs_by_step(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pictures [T or 1, C, H, W] of the input [T or 1, C, H, W] at each time step; of a row of
    channels (H = 1) over several steps channels over time [T, 2, W, T], as far as that step.
    """
    if frames.shape[2] > 1 or len(frames) == 1:
        return frames
    later = np.arange(len(frames))[None, :] > np.arange(len(frames))[:, None]
    return np.stack([drawn(np.where(one[:, None, None, None], 0, frames)) for one in later])


def firing_map(spikes: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Firing-rate map [H, W]: mean over time and channels of spikes [T, C, H, W]; a layer without
    space becomes a near-square sheet.

    The sheet of a layer [T, D] is filled row by row; cells past the last neuron are NaN.
    """
    # Sums depend on the order in which values lie: that of a stored recording and of a new one are
    # to agree.
    rate = np.ascontiguousarray(spikes).mean(axis=0, dtype=np.float64)
    if rate.ndim == 3:
        return rate.mean(axis=0)
    if rate.ndim == 2:
        return rate
    side = int(np.ceil(np.sqrt(rate.size)))
    return np.pad(rate.ravel(), (0, -rate.size % side), constant_values=np.nan).reshape(-1, side)
