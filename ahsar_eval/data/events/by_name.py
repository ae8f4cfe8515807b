"""Division of a set that has no official one: within each class, by file name or by a seed."""

import hashlib
from collections.abc import Sequence

import numpy as np

from ahsar_eval.data.events.recordings import Recording, natural


def random_rule(seed: int) -> str:
    """The random division in words."""
    return f"at random (seed {seed}): a tenth of each class is test"


def divided(recordings: Sequence[Recording], role: str, seed: int | None = None) -> list[Recording]:
    """The recordings of `role` (train, test, or all), by label and then in natural order of the
    file names.

    The first tenth of each class, rounded up, is test: 100 of 1,000. With a `seed` the tenth is
    drawn instead, from a generator of the seed and the label alone. Neither depends on the order of
    directories.
    """
    kept = []
    for label in sorted({recording.label for recording in recordings}):
        members = sorted(
            (recording for recording in recordings if recording.label == label),
            key=lambda recording: natural(recording.file),
        )
        tenth = -(-len(members) // 10)
        order = np.arange(len(members))
        if seed is not None:
            key = hashlib.sha256(f"events split|{seed}|{label}".encode()).digest()[:16]
            order = np.random.Generator(
                np.random.Philox(key=int.from_bytes(key, "little"))
            ).permutation(len(members))
        test = set(order[:tenth].tolist())
        kept += [
            member
            for place, member in enumerate(members)
            if role == "all" or (place in test) == (role == "test")
        ]
    return kept
