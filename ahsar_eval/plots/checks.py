"""Arrays as a figure needs them; what does not fit is refused before anything is drawn."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ahsar_eval.errors import DataError


def vectors(
    what: str, arrays: Mapping[str, ArrayLike], *, least: int = 1, gaps: bool = False
) -> list[NDArray[np.float64]]:
    """The arrays as float64 vectors of one length ≥ `least`. Raises `DataError`, also for NaN
    (unless `gaps`) and infinity.
    """
    found = {name: np.asarray(array, dtype=np.float64) for name, array in arrays.items()}
    shapes = {array.shape for array in found.values()}
    if len(shapes) > 1 or any(array.ndim != 1 or len(array) < least for array in found.values()):
        told = ", ".join(f"{name} {list(array.shape)}" for name, array in found.items())
        raise DataError(f"{what} has {told}; expected vectors of one length of at least {least}")
    for name, array in found.items():
        wrong = np.isinf(array) if gaps else ~np.isfinite(array)
        if wrong.any():
            raise DataError(
                f"{what} has {array[wrong][0]} in {name} at {int(np.flatnonzero(wrong)[0])}; "
                "expected finite numbers"
            )
    return list(found.values())


def drawable(kind: str, panels: Sequence[Any], keys: Iterable[tuple[str, ...]]) -> None:
    """That there is something to draw, and each thing once. Raises `DataError`."""
    if not panels:
        raise DataError(f"there is no {kind} to draw; give at least one")
    repeated = [key for key, count in Counter(keys).items() if count > 1]
    if repeated:
        raise DataError(f"the {kind} of {' on '.join(repeated[0])} was given twice; give it once")
