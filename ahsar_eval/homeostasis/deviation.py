"""How far a network's rates are from their set points, without moving anything: what a regulator
sees before its first step (docs/monitor.md).
"""

from collections.abc import Mapping

import numpy as np

from ahsar_eval.errors import HomeostasisError
from ahsar_eval.homeostasis.regulation import SetPoints, Vector, log_deviation


def rate_deviations(
    rates: Mapping[str, Vector], points: SetPoints, mode: str, floor: float
) -> dict[str, Vector]:
    """Layer → log r − log r* of what a `mode` regulates, [C] or [1], from the rates [C] of every
    channel.
    """
    return {
        name: log_deviation(point.seen(mode, rates[name]), point.of(mode), floor)
        for name, point in points.layers.items()
    }


def judged_deviations(
    deviations: Mapping[str, Vector], points: SetPoints, mode: str, samples: int, floor: float
) -> dict[str, Vector]:
    """The same in units of what chance adds to each for a mean over so many samples.

    What did not vary between the samples of the set points, as a silent channel, has no such unit
    and is left out. Raises `HomeostasisError` where nothing is left.
    """
    found = {}
    for name, deviation in deviations.items():
        variance, _ = points.layers[name].noise(mode, samples, floor)
        varies = variance > 0
        if varies.any():
            found[name] = deviation[varies] / np.sqrt(variance[varies])
    if not found:
        raise HomeostasisError(
            "the rates did not vary between the samples of the set points, so that no deviation "
            "can be judged; measure them on more samples with ahsar-eval calibrate"
        )
    return found
