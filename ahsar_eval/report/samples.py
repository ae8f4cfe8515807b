"""Samples that say more than a mean: where a network is sure and wrong, and where it doubts; and
what is no number on the page: their pictures, rasters and rate maps, as PNG in data URIs.
"""

import base64
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ahsar_eval.data import Split
from ahsar_eval.data.events.frames import drawn
from ahsar_eval.evaluation.raster import firing_map, shown_neurons
from ahsar_eval.ood import ScoredSet
from ahsar_eval.plots.pictures import coloured
from ahsar_eval.plots.style import rate_colours
from ahsar_eval.report.run import Found, Network

CONFIDENT, DOUBTFUL = "confident error", "known, looks unknown"
SHIFTED, CERTAIN = "confident error, shifted", "unknown, looks known"
KINDS = {
    CONFIDENT: "samples of the ID set that the network is surest of and wrong about",
    DOUBTFUL: "samples of the ID set that look most unknown to it",
    SHIFTED: "samples of shifts, at their largest severity, that it is surest of and wrong about",
    CERTAIN: "samples of other sets that look most known to it",
}
_SIDE = 64  # pixels of a picture at most
_SPIKE = (60, 130, 205)
Facts = dict[str, Any]


def samples_of(found: Found) -> tuple[list[Facts], dict[str, str]]:
    """The examples of each kind and network, as facts; and pictures by "set/index", as data
    URIs.
    """
    facts = [
        one for network in found.networks for one in _examples(network, found.request.examples)
    ]
    wanted: dict[str, list[int]] = {}
    for one in facts:
        wanted.setdefault(one["set"], []).append(one["index"])
    plan = found.networks[0].plan
    splits = {split.name: split for split in (plan.id_split, *plan.others)}
    pictures = {
        f"{name}/{index}": uri
        for name, indices in wanted.items()
        for index, uri in _pictures(splits[name], sorted(set(indices)))
    }
    return facts, pictures


def _examples(network: Network, most: int) -> Iterator[Facts]:
    result = network.result
    clean, score = [result.id_set], result.rows[0].score
    shifted = [some for some in network.shifted if some.name in network.judged]
    if result.id_set.name in network.judged:
        yield from _chosen(network, CONFIDENT, clean, most, errors=True)
    yield from _chosen(network, DOUBTFUL, clean, most, by=score, descending=True)
    yield from _chosen(network, SHIFTED, shifted, most, errors=True)
    yield from _chosen(network, CERTAIN, network.others, most, by=score)


def _chosen(
    network: Network,
    kind: str,
    sets: list[ScoredSet],
    most: int,
    *,
    errors: bool = False,
    by: str = "",
    descending: bool = False,
) -> Iterator[Facts]:
    """The `most` samples of all `sets` by confidence, of wrong ones alone, or `by` a score."""
    score = network.result.rows[0].score
    found: list[tuple[float, Facts]] = []
    for some in sets:
        confidence, predicted = _predictions(some)
        known = some.labels >= 0
        wrong = known & (predicted != some.labels)
        places = np.flatnonzero(wrong) if errors else np.arange(len(some))
        order = -confidence if errors else some.scores[by] * (-1 if descending else 1)
        best = places[np.argsort(order[places], kind="stable")[:most]]
        for i in best.tolist():
            facts = {
                "label": network.label,
                "kind": kind,
                "set": some.name,
                "index": i,
                "class": _class_of(some, int(some.labels[i])),
                "predicted": _class_of(network.result.id_set, int(predicted[i])),
                "confidence": float(confidence[i]),
                "score": float(some.scores[score][i]),
            }
            found.append((float(order[i]), facts))
    found.sort(key=lambda one: one[0])
    yield from (facts for _, facts in found[:most])


def _predictions(some: ScoredSet) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Confidence [N] of the time-mean logits under a softmax, and the class it is of."""
    mean = some.logits.mean(axis=1, dtype=np.float64)
    shifted = np.exp(mean - mean.max(axis=1, keepdims=True))
    return 1 / shifted.sum(axis=1), mean.argmax(axis=1)


def _class_of(some: ScoredSet, place: int) -> str | None:
    names = some.split.get("classes") or ()
    return str(names[place]) if 0 <= place < len(names) else None


def _pictures(split: Split, indices: list[int]) -> Iterator[tuple[int, str]]:
    """What stands at these places of a split, for the eye."""
    for index in indices:
        frames = split.tensors(np.array([index]))
        frames = frames[:, 0] if frames.ndim == 5 else frames
        yield index, png(_picture(drawn(frames.numpy())))


def _picture(picture: NDArray[np.float32]) -> Image.Image:
    """An image, or counts of events, [C, H, W] as figures show it, no larger than `_SIDE`."""
    shown = coloured(picture, float(picture.max()))
    image = Image.fromarray((255 * shown).round().astype(np.uint8)).convert("RGB")
    image.thumbnail((_SIDE, _SIDE))
    return image


def rasters_of(network: Network) -> tuple[list[list[dict[str, str]]], float]:
    """For each traced sample and layer the `raster` of the neurons shown over time and the rate
    `map` of the sample, as data URIs; and the largest rate on any map, where their colours end.
    """
    layers = [layer.name for layer in network.recording.layers]
    traces = [[trace.spikes[name] for name in layers] for trace in network.recording.traces]
    maps = [[firing_map(spikes) for spikes in trace] for trace in traces]
    rates = [float(np.nanmax(one)) for trace in maps for one in trace]
    top = max(rates, default=0.0) or 1.0
    rasters = [
        [
            {"raster": png(_raster(spikes)), "map": png(_map(one, top))}
            for spikes, one in zip(*trace, strict=True)
        ]
        for trace in zip(traces, maps, strict=True)
    ]
    return rasters, top


def _raster(spikes: NDArray[Any]) -> Image.Image:
    """A pixel for each neuron shown and step, in colour where it fires."""
    flat = spikes.reshape(len(spikes), -1)
    fired = (flat[:, shown_neurons(flat.shape[1])] > 0).T
    image = Image.fromarray(fired.astype(np.uint8), mode="P")
    image.putpalette([255, 255, 255, *_SPIKE])
    image.info["transparency"] = 0
    return image


def _map(rates: NDArray[np.float64], top: float) -> Image.Image:
    """Rates [H, W] in the colours of a common scale from 0 to `top`; no neuron, no colour."""
    levels = np.nan_to_num(np.clip(rates / top, 0, 1) * 254).round().astype(np.uint8) + 1
    levels[np.isnan(rates)] = 0
    image = Image.fromarray(levels, mode="P")
    image.putpalette([0, 0, 0, *rate_colours(255)])
    image.info["transparency"] = 0
    return image


def png(image: Image.Image) -> str:
    """A picture as a data URI."""
    held = io.BytesIO()
    image.save(held, "PNG", optimize=True, transparency=image.info.get("transparency"))
    return "data:image/png;base64," + base64.b64encode(held.getvalue()).decode()
