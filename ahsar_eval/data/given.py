"""Sets that are no files: arrays, tensors, and data sets of torch or tonic."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ahsar_eval.data.events.stream import Events
from ahsar_eval.data.split import EventSet, SampleSet
from ahsar_eval.data.user_sets import image_set
from ahsar_eval.errors import DataError
from ahsar_eval.files import sha256_of

_FORMS = (
    "an array or tensor x, a pair (x, y), a torch Dataset of (image, label), or a tonic data set"
)


def as_set(given: Any, name: str = "data") -> SampleSet:
    """What the user holds in memory as a set, under `name`.

    Arrays and tensors x are [N, H, W], [N, H, W, C] or [N, C, H, W], uint8 or floats in [0, 1];
    labels y are [N] integers, −1 where unknown. A data set is read through once, for its identity:
    image data sets into memory, event data sets sample by sample; of tonic's own, without a
    transform, only the files are.
    Raises `DataError` for anything else.
    """
    if isinstance(given, (np.ndarray, Tensor)):
        return _of_arrays(given, None, name)
    if isinstance(given, tuple) and len(given) == 2 and hasattr(given[0], "shape"):
        return _of_arrays(given[0], given[1], name)
    if not (hasattr(given, "__getitem__") and hasattr(given, "__len__")) or isinstance(given, dict):
        raise DataError(f"{name} is a {type(given).__name__}; expected {_FORMS}")
    if len(given) == 0:
        raise DataError(f"{name} is empty; expected at least one sample")
    if type(given).__module__.startswith("tonic.datasets."):
        from ahsar_eval.data.events.tonic_sets import is_as_on_disk, tonic_set

        if is_as_on_disk(given):
            return tonic_set(given, name, "all")
    sample, _ = _pair(given, 0, name)
    if isinstance(sample, np.ndarray) and sample.dtype.names:
        return _of_events(given, name)
    if hasattr(whole_of(given), "sensor_size"):
        raise DataError(
            f"{name} is a data set of events whose samples are {type(sample).__name__}s of shape "
            f"{tuple(getattr(sample, 'shape', ()))}; leave out the transform that makes frames, "
            "which are made here as the network takes them"
        )
    pairs = [_pair(given, i, name) for i in range(len(given))]
    images = [_array(image) for image, _ in pairs]
    if len({image.shape for image in images}) > 1:
        raise DataError(
            f"{name} has images of several shapes; give its data set a transform that makes them "
            "one size"
        )
    labels = np.array([label for _, label in pairs])
    return _of_arrays(np.stack(images), labels, name, class_names(given, labels))


def _array(values: Any) -> NDArray[Any]:
    return np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)


def _of_arrays(x: Any, y: Any, name: str, classes: tuple[str, ...] | None = None) -> SampleSet:
    images, labels = _array(x), None if y is None else _array(y)
    parts = [images] if labels is None else [images, labels]
    identity = sha256_of(
        *(part for one in parts for part in (str(one.dtype), str(one.shape), one.tobytes()))
    )
    return image_set(name, images, labels, identity, f"given:{identity}", classes)


def _of_events(given: Any, name: str) -> SampleSet:
    from ahsar_eval.data.events.tonic_sets import events_of, sensor_of

    sensor = width, height, polarities = sensor_of(given, name)

    def events(i: int) -> Events:
        return events_of(_pair(given, i, name)[0], sensor, f"{name}, sample {i}")

    identity, known = sha256_of(str(sensor)), np.zeros(len(given), dtype=np.int64)
    for i in range(len(given)):
        record, known[i] = _pair(given, i, name)
        identity = sha256_of(identity, np.ascontiguousarray(record).tobytes(), str(known[i]))

    return EventSet(
        name=name,
        role="all",
        labels=known,
        classes=class_names(given, known) or tuple(map(str, range(int(known.max()) + 1))),
        identity=identity,
        label_space=f"given:{identity}",
        fetch=lambda indices: [events(int(i)) for i in indices],
        shape=(polarities, height, width),
        note=f"{len(known)} recordings of {type(given).__name__}",
    )


def _pair(given: Any, i: int, name: str) -> tuple[Any, int]:
    """A sample and its label."""
    sample = given[i]
    if not isinstance(sample, (tuple, list)) or len(sample) != 2:
        raise DataError(f"sample {i} of {name} is no pair (sample, label); expected {_FORMS}")
    label = sample[1].item() if isinstance(sample[1], (Tensor, np.generic)) else sample[1]
    if not isinstance(label, int):
        raise DataError(f"sample {i} of {name} has the label {label!r}; expected a class number")
    return sample[0], label


def whole_of(given: Any) -> Any:
    """The data set that this one is a part of, or keeps in a cache; itself where it is none."""
    while not hasattr(given, "sensor_size") and hasattr(given, "dataset"):
        given = given.dataset
    return given


def class_names(given: Any, labels: NDArray[np.generic]) -> tuple[str, ...] | None:
    """The names of the classes, where the data set has them all."""
    names = getattr(whole_of(given), "classes", None)
    if isinstance(names, dict) and {*names.values()} == {*range(len(names))}:
        names = sorted(names, key=names.__getitem__)
    if not isinstance(names, (list, tuple, np.ndarray)) or len(names) <= int(labels.max()):
        return None
    return tuple(
        one.decode(errors="replace") if isinstance(one, bytes) else str(one) for one in names
    )
