"""Transforms of tonic on event recordings in training, from texts such as `DropEvent(p=0.1)`.

A text is read, never run: the name of a class below, and literal values by keyword. tonic draws
from NumPy's global generator; here its numbers depend on seed, epoch and sample alone.
"""

import ast
import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tonic

from ahsar_eval.data.events.stream import Events
from ahsar_eval.data.randomness import seeded
from ahsar_eval.data.split import EventSet
from ahsar_eval.errors import UsageError, close_to

# Those that take events and give events of the same sensor.
EVENT_TRANSFORMS = (
    *("CropTime", "Decimation", "Denoise", "DropEvent", "DropEventByArea", "DropEventByTime"),
    *("DropPixel", "EventDrop", "MergePolarities", "RandomDropPixel", "RandomFlipLR"),
    *("RandomFlipPolarity", "RandomFlipUD", "RandomTimeReversal", "RefractoryPeriod"),
    *("SpatialJitter", "TimeAlignment", "TimeJitter", "TimeSkew", "UniformNoise"),
)
_OF_POLARITIES = ("MergePolarities", "RandomFlipPolarity")
_OF_IMAGES = ("DropEventByArea", "EventDrop", "RandomFlipUD")  # without effect on a row of channels
_EXPECTED = "a transform of tonic and its settings, such as DropEvent(p=0.1)"
_RECORD = np.dtype([("t", np.int64), ("x", np.int64), ("y", np.int64), ("p", np.int64)])


def canonical(text: str) -> str:
    """The text of a transform as it is kept. Raises `UsageError` for one that is none, unknown
    settings and values that are no literals.
    """
    name, settings = _read(text)
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in settings.items())})"


def _read(text: str) -> tuple[str, dict[str, Any]]:
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)) or call.args:
            raise ValueError
        settings = {str(one.arg): ast.literal_eval(one.value) for one in call.keywords}
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise UsageError(
            f"event_transform is {text!r}; expected {_EXPECTED}, its values by name and as literals"
        ) from None
    name = call.func.id
    if name not in EVENT_TRANSFORMS:
        raise UsageError(
            f"event_transform names {name}{close_to(name, EVENT_TRANSFORMS)}; expected one that "
            f"gives events of the same sensor: {', '.join(EVENT_TRANSFORMS)}"
        )
    fields = dataclasses.fields(getattr(tonic.transforms, name))
    known = {one.name: one for one in fields if one.name != "sensor_size"}
    for key in settings.keys() - known.keys():
        raise UsageError(
            f"event_transform {text!r} has the setting {key!r}; known are "
            f"{', '.join(known) or 'none'}"
            f"{', and the sensor is that of the set' * (key == 'sensor_size')}"
        )
    for key in known.keys() - settings.keys():
        if known[key].default is dataclasses.MISSING:
            raise UsageError(f"event_transform {text!r} lacks {key}; say it, as {name}({key}=…)")
    return name, settings


def check_transforms(texts: Sequence[str], source: EventSet) -> None:
    """That transforms work on a set, by its first recording. Raises `UsageError`."""
    (events,) = source.fetch(np.array([0]))
    for name, _ in map(_read, texts):
        if events.polarities == 1 and name in _OF_POLARITIES:
            raise UsageError(
                f"event_transform {name} is of two polarities and {source.name} has one; leave it "
                "out"
            )
        if events.height == 1 and name in _OF_IMAGES:
            raise UsageError(
                f"event_transform {name} is of images and {source.name} is a row of channels, on "
                "which it changes nothing; leave it out"
            )
    transformed(events, 0, texts, 0, 0)


def transformed(events: Events, index: int, texts: Sequence[str], seed: int, epoch: int) -> Events:
    """A recording transformed by tonic, by random numbers of seed, epoch and the sample's index
    alone; in time order.

    Events that leave the sensor, or begin before time 0, are lost; a recording that has lost all
    stays empty. Along a row of channels SpatialJitter moves in x alone unless var_y is named.
    Raises `UsageError` where tonic fails.
    """
    record = np.empty(len(events), dtype=_RECORD)
    for key in "txyp":
        record[key] = getattr(events, key)
    sensor = events.width, events.height, events.polarities
    text = f"{seed}|event transforms|{epoch}|{index}"
    with seeded(int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")):
        for text in texts:
            if len(record) == 0:
                break
            name, settings = _read(text)
            kind = getattr(tonic.transforms, name)
            if any(one.name == "sensor_size" for one in dataclasses.fields(kind)):
                settings["sensor_size"] = sensor
            if name == "SpatialJitter" and events.height == 1:
                settings.setdefault("var_y", 0)
            try:  # anew for each sample: some keep what they saw in the first
                record = kind(**settings)(record)
            except Exception as error:  # also asserts
                reason = f"{type(error).__name__}: {error}".removesuffix(": ")[:160]
                raise UsageError(
                    f"event_transform {text!r} fails ({reason}); check its settings"
                ) from error
            record = _within(record, sensor)
    polarity = record["p"] if events.polarities == 2 else np.zeros(len(record))
    return dataclasses.replace(
        events,
        t=record["t"].astype(np.int64),
        x=record["x"].astype(np.int32),
        y=record["y"].astype(np.int32),
        p=polarity.astype(np.uint8),
    ).ordered()


def _within(record: Any, sensor: tuple[int, int, int]) -> Any:
    width, height, _ = sensor
    x, y = record["x"], record["y"]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (record["t"] >= 0)
    return record[inside]
