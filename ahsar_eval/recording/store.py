"""Recordings on disk: saved whole, found again by the hash of everything that made them.

The key (see `runner`) covers checkpoint bytes, written thresholds, split identity (with shift,
severity and seed), T, step mode, device, thread count, versions and the code of this package that
records. A file is a plain NumPy archive: nothing in it can execute.
"""

import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.errors import AhsarWarning, OutputError, RecordingError
from ahsar_eval.files import sha256_of, written_whole
from ahsar_eval.recording.activity import (
    LayerActivity,
    Readout,
    Recording,
    SpikeTrace,
    SynapseActivity,
    Uncounted,
)
from ahsar_eval.recording.work import Geometry, NeuronModel, OperatorActivity, Seen

_FORMAT = 2


def key_of_parts(parts: Mapping[str, Any]) -> str:
    """Hash of a JSON-ready description of everything that makes a recording."""
    return sha256_of(json.dumps(parts, sort_keys=True))


def save_recording(recording: Recording, path: str | Path) -> None:
    """Write a recording as `.npz`. Raises `OutputError`."""
    arrays: dict[str, Any] = {"logits": recording.logits, "labels": recording.labels}
    if recording.features is not None:
        arrays["features"] = recording.features
    if recording.readout is not None:
        arrays["readout.weight"], arrays["readout.bias"] = (
            recording.readout.weight,
            recording.readout.bias,
        )
    if recording.spike_counts is not None:
        arrays["spike_counts"] = recording.spike_counts
    for number, layer in enumerate(recording.layers):
        arrays[f"layer{number}.spikes"], arrays[f"layer{number}.rate_map"] = (
            layer.spikes,
            layer.rate_map,
        )
        if layer.silent_steps is not None:
            arrays[f"layer{number}.silent_steps"] = layer.silent_steps
    for number, synapse in enumerate(recording.synapses):
        arrays[f"synapse{number}.operations"] = synapse.operations
        if synapse.replayed is not None:
            arrays[f"synapse{number}.replayed"] = synapse.replayed
        arrays |= _seen_arrays(f"synapse{number}", synapse.seen)
    for number, operator in enumerate(recording.operators):
        if operator.coincidences is not None:
            arrays[f"operator{number}.coincidences"] = operator.coincidences
        for place, operand in enumerate(operator.operands):
            arrays |= _seen_arrays(f"operator{number}.{place}", operand)
    for number, trace in enumerate(recording.traces):
        arrays[f"trace{number}.image"], arrays[f"trace{number}.logits"] = trace.image, trace.logits
        for place, layer in enumerate(recording.layers):
            spikes = trace.spikes[layer.name]
            arrays[f"trace{number}.spikes{place}"] = (
                np.packbits(spikes) if spikes.dtype == bool else spikes
            )
    meta = {
        "format": _FORMAT,
        "split": dict(recording.split),
        "spec": dict(recording.spec),
        "thresholds": dict(recording.thresholds),
        "layers": [
            {
                "name": layer.name,
                "shape": list(layer.shape),
                "model": None if layer.model is None else asdict(layer.model),
            }
            for layer in recording.layers
        ],
        "synapses": [
            {
                **{
                    name: getattr(s, name)
                    for name in ("name", "kind", "source", "dense_operations", "charged_steps")
                },
                "geometry": None if s.geometry is None else asdict(s.geometry),
                "elements": None if s.seen is None else s.seen.elements,
            }
            for s in recording.synapses
        ],
        "operators": [
            {
                **{
                    name: value
                    for name, value in vars(o).items()
                    if name not in ("operands", "coincidences")
                },
                "elements": [operand.elements for operand in o.operands],
            }
            for o in recording.operators
        ],
        "traces": [{"index": trace.index, "label": trace.label} for trace in recording.traces],
        "uncounted": [{"name": u.name, "reason": u.reason} for u in recording.uncounted],
        "provenance": dict(recording.provenance),
        "arrays": sorted(arrays),
    }
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)
    with written_whole(path) as temporary, open(temporary, "wb") as writer:
        np.savez_compressed(writer, **arrays)


def load_recording(path: str | Path) -> Recording:
    """Read a recording. Raises `RecordingError` for a file that is none, is damaged or is of
    another format.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            meta = json.loads(archive["meta"].tobytes())
            if meta["format"] != _FORMAT:
                raise RecordingError(
                    f"{path} is a recording of format {meta['format']}; this version reads format "
                    f"{_FORMAT}; record again"
                )
            if set(archive.files) != {"meta", *meta["arrays"]}:
                raise RecordingError(
                    f"{path} lacks arrays that it names; remove it and record again"
                )
            shapes = [tuple(layer["shape"]) for layer in meta["layers"]]
            steps = int(meta["spec"]["timesteps"])
            layers = tuple(
                LayerActivity(
                    layer["name"],
                    shapes[n],
                    archive[f"layer{n}.spikes"],
                    archive[f"layer{n}.rate_map"],
                    None if layer["model"] is None else NeuronModel(**_with_tuples(layer["model"])),
                    archive.get(f"layer{n}.silent_steps"),
                )
                for n, layer in enumerate(meta["layers"])
            )
            return Recording(
                split=meta["split"],
                spec=meta["spec"],
                thresholds=meta["thresholds"],
                logits=archive["logits"],
                labels=archive["labels"],
                layers=layers,
                synapses=tuple(
                    _synapse(archive, n, facts) for n, facts in enumerate(meta["synapses"])
                ),
                operators=tuple(
                    _operator(archive, n, facts) for n, facts in enumerate(meta["operators"])
                ),
                traces=tuple(
                    SpikeTrace(
                        index=trace["index"],
                        image=archive[f"trace{n}.image"],
                        label=trace["label"],
                        logits=archive[f"trace{n}.logits"],
                        spikes={
                            layer.name: _unpacked(archive[f"trace{n}.spikes{place}"], steps, layer)
                            for place, layer in enumerate(layers)
                        },
                    )
                    for n, trace in enumerate(meta["traces"])
                ),
                uncounted=tuple(Uncounted(**listed) for listed in meta["uncounted"]),
                provenance=meta["provenance"],
                features=archive.get("features"),
                readout=Readout(archive["readout.weight"], archive["readout.bias"])
                if "readout.weight" in archive
                else None,
                spike_counts=archive.get("spike_counts"),
            )
    except RecordingError:
        raise
    except Exception as error:
        raise RecordingError(
            f"{path} is no readable recording ({type(error).__name__}); remove it and record again"
        ) from error


def _seen_arrays(prefix: str, seen: Seen | None) -> dict[str, NDArray[Any]]:
    """`Seen` as three arrays: counts, values and flags."""
    if seen is None:
        return {}
    counts = [seen.nonzero, seen.uses, *([] if seen.live_uses is None else [seen.live_uses])]
    return {
        f"{prefix}.counts": np.stack(counts),
        f"{prefix}.values": np.stack(
            [seen.total, seen.low.astype(np.float64), seen.high.astype(np.float64)]
        ),
        f"{prefix}.flags": np.stack([seen.two_valued, seen.signed, seen.whole]),
    }


def _seen(archive: Any, prefix: str, elements: int) -> Seen:
    nonzero, uses, *live = archive[f"{prefix}.counts"]
    total, low, high = archive[f"{prefix}.values"]
    flags = archive[f"{prefix}.flags"]
    return Seen(
        elements,
        nonzero,
        uses,
        total,
        low.astype(np.float32),
        high.astype(np.float32),
        *flags,
        *live,
    )


def _synapse(archive: Any, number: int, facts: dict[str, Any]) -> SynapseActivity:
    geometry, elements = facts.pop("geometry"), facts.pop("elements")
    return SynapseActivity(
        operations=archive[f"synapse{number}.operations"],
        geometry=None if geometry is None else Geometry(**_with_tuples(geometry)),
        seen=None if elements is None else _seen(archive, f"synapse{number}", elements),
        replayed=archive.get(f"synapse{number}.replayed"),
        **facts,
    )


def _operator(archive: Any, number: int, facts: dict[str, Any]) -> OperatorActivity:
    elements = facts.pop("elements")
    return OperatorActivity(
        operands=tuple(
            _seen(archive, f"operator{number}.{place}", count)
            for place, count in enumerate(elements)
        ),
        coincidences=archive.get(f"operator{number}.coincidences"),
        **_with_tuples(facts),
    )


def _with_tuples(facts: dict[str, Any]) -> dict[str, Any]:
    """Lists, which JSON made of tuples, as tuples again."""
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in facts.items()
    }


def _unpacked(stored: NDArray[Any], steps: int, layer: LayerActivity) -> NDArray[Any]:
    """Spikes of a trace: bits where a neuron fires at most once in a step, whole numbers as they
    are.
    """
    if stored.dtype != np.uint8:
        return stored
    return (
        np.unpackbits(stored, count=steps * layer.neurons).astype(bool).reshape(steps, *layer.shape)
    )


class RecordingStore:
    """A folder of recordings by key. A damaged file is as good as none; a folder that cannot be
    written stores nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def find(self, key: str) -> Recording | None:
        """The recording of `key`, or None."""
        if self.folder is None or not (path := self.folder / f"{key}.npz").is_file():
            return None
        try:
            return load_recording(path)
        except RecordingError:
            return None

    def keep(self, key: str, recording: Recording) -> None:
        """Store a recording. A cache that cannot be written is no reason to lose the result: it is
        said once and left alone.
        """
        if self.folder is None:
            return
        try:
            save_recording(recording, self.folder / f"{key}.npz")
        except OutputError as error:
            warnings.warn(
                f"recordings are not kept: {error}, or use --no-cache", AhsarWarning, stacklevel=2
            )
            self.folder = None
