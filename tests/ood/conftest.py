"""Scored sets made by hand: what an evaluation sees of a network and a set."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ahsar_eval.ood import ScoredSet
from ahsar_eval.ood.bootstrap import Images

CLASSES = ("a", "b", "c")


def made_set(
    name: str,
    *,
    n: int = 40,
    seed: int = 0,
    offset: float = 0.0,
    images: str = "",
    right: float = 0.8,
    labels: Any = None,
    **split: Any,
) -> ScoredSet:
    """`n` samples of three classes over two steps: a share `right` is read right, scores are normal
    around `offset`.

    A name such as letters:fog:3 is a shift of the set letters and holds its images.
    """
    base, _, tail = name.partition(":")
    shift, _, severity = tail.partition(":")
    described = {
        "name": name,
        "set": base,
        "identity": f"{name} {n}",
        "set_identity": base,
        "shift": shift or None,
        "severity": int(severity or 0),
        "labels_preserved": True,
        "label_space": "letters",
        "classes": list(CLASSES),
        **split,
    }
    drawn = np.random.default_rng([seed, *map(ord, name)])
    known = np.arange(n) % 3 if labels is None else np.asarray(labels)
    said = np.where(drawn.random(n) < right, known, (known + 1) % 3)
    logits = (2 * np.eye(3)[said % 3][:, None, :] + drawn.normal(size=(n, 2, 3))).astype(np.float32)
    return ScoredSet(
        split=described,
        logits=logits,
        labels=known.astype(np.int64),
        rates=drawn.random(n),
        scores={"entropy": drawn.normal(offset, size=n)},
        images=Images(images or base, n),
    )


@pytest.fixture(scope="session")
def make_set() -> Callable[..., ScoredSet]:
    """`made_set`."""
    return made_set
