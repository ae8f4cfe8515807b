"""Recordings on disk: saved whole, found again by the hash of everything that made them.

The key (see `runner`) covers checkpoint bytes, written thresholds, split identity (with shift,
severity and seed), T, step mode, device, thread count, versions and the code of this package that
records. A file is a plain NumPy archive: nothing in it can execute.
"""

import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.errors import AhsarWarning, OutputError, RecordingError
from ahsar_eval.files import sha256_of, written_whole
from ahsar_eval.recording.activity import (
    Geometry,
    LayerActivity,
    NeuronModel,
    OperatorActivity,
    Readout,
    Recording,
    Seen,
    SpikeTrace,
    SynapseActivity,
    Uncounted,
)

_FORMAT = 2
_DESCRIBED = ("split", "spec", "thresholds", "provenance")
_PARTS = {
    "layer": LayerActivity,
    "synapse": SynapseActivity,
    "operator": OperatorActivity,
    "trace": SpikeTrace,
}
_NESTED = {"model": NeuronModel, "geometry": Geometry}


def key_of_parts(parts: Mapping[str, Any]) -> str:
    """Hash of a JSON-ready description of everything that makes a recording."""
    return sha256_of(json.dumps(parts, sort_keys=True))


def save_recording(recording: Recording, path: str | Path) -> None:
    """Write a recording as `.npz`: arrays, and everything else as JSON in the array 'meta'. Raises
    `OutputError`.
    """
    arrays: dict[str, Any] = {
        name: value for name, value in vars(recording).items() if isinstance(value, np.ndarray)
    }
    meta: dict[str, Any] = {
        "format": _FORMAT,
        **{name: dict(getattr(recording, name)) for name in _DESCRIBED},
        "uncounted": [asdict(uncounted) for uncounted in recording.uncounted],
    }
    if recording.readout is not None:
        _taken_apart(recording.readout, "readout", arrays)
    for part in _PARTS:
        meta[f"{part}s"] = [
            _taken_apart(value, f"{part}{i}", arrays)
            for i, value in enumerate(getattr(recording, f"{part}s"))
        ]
    for i, trace in enumerate(recording.traces):
        for j, layer in enumerate(recording.layers):
            spikes = trace.spikes[layer.name]
            packed = np.packbits(spikes) if spikes.dtype == bool else spikes
            arrays[f"trace{i}.spikes{j}"] = packed
    meta["arrays"] = sorted(arrays)
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
            arrays = {name: archive[name] for name in meta["arrays"]}
        return _put_together(meta, arrays)
    except RecordingError:
        raise
    except Exception as error:
        raise RecordingError(
            f"{path} is no readable recording ({type(error).__name__}); remove it and record again"
        ) from error


def _put_together(meta: dict[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Recording:
    parts: dict[str, Any] = {
        f"{part}s": tuple(
            _part(kind, f"{part}{i}", facts, arrays) for i, facts in enumerate(meta[f"{part}s"])
        )
        for part, kind in _PARTS.items()
    }
    steps = int(meta["spec"]["timesteps"])
    parts["traces"] = tuple(
        replace(
            trace,
            spikes={
                layer.name: _unpacked(arrays[f"trace{i}.spikes{j}"], steps, layer)
                for j, layer in enumerate(parts["layers"])
            },
        )
        for i, trace in enumerate(parts["traces"])
    )
    readout = None
    if "readout.weight" in arrays:
        readout = Readout(arrays["readout.weight"], arrays["readout.bias"])
    parts |= {field.name: arrays[field.name] for field in fields(Recording) if field.name in arrays}
    parts |= {name: meta[name] for name in _DESCRIBED}
    uncounted = tuple(Uncounted(**listed) for listed in meta["uncounted"])
    return Recording(**parts, uncounted=uncounted, readout=readout)


def _taken_apart(part: Any, prefix: str, arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """A dataclass as JSON-ready facts; its arrays go to `arrays`, named `prefix`.FIELD."""
    facts: dict[str, Any] = {}
    for name, value in vars(part).items():
        if isinstance(value, np.ndarray):
            arrays[f"{prefix}.{name}"] = value
        elif isinstance(value, Seen):
            facts["elements"] = _seen_taken_apart(value, prefix, arrays)
        elif name == "operands":
            facts["elements"] = [
                _seen_taken_apart(seen, f"{prefix}.{i}", arrays) for i, seen in enumerate(value)
            ]
        elif value is not None and name != "spikes":  # of a trace: stored by layer
            facts[name] = asdict(value) if name in _NESTED else value
    return facts


def _part(
    kind: type, prefix: str, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> Any:
    """The inverse."""
    values: dict[str, Any] = {"spikes": {}} if kind is SpikeTrace else {}
    for name, value in _with_tuples(facts).items():
        if name == "elements" and isinstance(value, tuple):
            values["operands"] = tuple(
                _seen(f"{prefix}.{i}", elements, arrays) for i, elements in enumerate(value)
            )
        elif name == "elements":
            values["seen"] = None if value is None else _seen(prefix, value, arrays)
        elif isinstance(value, dict):
            values[name] = _NESTED[name](**_with_tuples(value))
        else:
            values[name] = value
    for field in fields(kind):
        if f"{prefix}.{field.name}" in arrays:
            values[field.name] = arrays[f"{prefix}.{field.name}"]
    return kind(**values)


def _seen_taken_apart(seen: Seen, prefix: str, arrays: dict[str, NDArray[Any]]) -> int:
    """`Seen` as three arrays, counts, values and flags; its number of elements."""
    counts = [seen.nonzero, seen.fan_out_ops]
    if seen.nonzero_fan_out_ops is not None:
        counts.append(seen.nonzero_fan_out_ops)
    low, high = seen.low.astype(np.float64), seen.high.astype(np.float64)
    arrays[f"{prefix}.counts"] = np.stack(counts)
    arrays[f"{prefix}.values"] = np.stack([seen.total, low, high])
    arrays[f"{prefix}.flags"] = np.stack([seen.two_valued, seen.signed, seen.whole])
    return seen.elements


def _seen(prefix: str, elements: int, arrays: Mapping[str, NDArray[Any]]) -> Seen:
    nonzero, fan_out_ops, *nonzero_fan_out_ops = arrays[f"{prefix}.counts"]
    total, low, high = arrays[f"{prefix}.values"]
    low, high, flags = low.astype(np.float32), high.astype(np.float32), arrays[f"{prefix}.flags"]
    return Seen(elements, nonzero, fan_out_ops, total, low, high, *flags, *nonzero_fan_out_ops)


def _with_tuples(facts: Mapping[str, Any]) -> dict[str, Any]:
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
    spikes = np.unpackbits(stored, count=steps * layer.neurons).astype(bool)
    return spikes.reshape(steps, *layer.shape)


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
        """Store a recording. Warn once where the folder cannot be written, then continue without a
        cache.
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
