"""Near and far out-of-distribution groups by one name, and the removal of classes that the
in-distribution set has, too.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from ahsar_eval.data.images.overlap import TINY_IMAGENET_IN_CIFAR10, TINY_IMAGENET_IN_CIFAR100
from ahsar_eval.data.split import AnySet, subset
from ahsar_eval.errors import DataError

# OpenOOD v1.5 (Zhang et al. 2023, arXiv 2306.09301; configs/datasets/cifar10/cifar10_ood.yml and
# its twin for CIFAR-100). It takes all
# 70,000 images of MNIST and leaves out single images of Places365; here the sets are the test
# splits named in docs/data.md.
GROUPS: dict[str, dict[str, tuple[str, ...]]] = {
    "cifar10": {
        "near": ("cifar100", "tiny-imagenet"),
        "far": ("mnist", "svhn", "textures", "places365"),
    },
    "cifar100": {
        "near": ("cifar10", "tiny-imagenet"),
        "far": ("mnist", "svhn", "textures", "places365"),
    },
}

# ID label space: label space of an OOD set whose classes are WordNet ids: the ids to leave out.
OVERLAPS: dict[str, dict[str, dict[str, tuple[str, str]]]] = {
    "cifar10": {"tiny-imagenet": TINY_IMAGENET_IN_CIFAR10},
    "cifar100": {"tiny-imagenet": TINY_IMAGENET_IN_CIFAR100},
}


def expand(names: Iterable[str], id_name: str) -> list[str]:
    """`names` with `near` and `far` replaced by the sets of OpenOOD's groups for the ID set
    `id_name`, each set once.

    Raises `DataError` where there is no such group for that ID set.
    """
    found: list[str] = []
    for name in names:
        if name in ("near", "far"):
            if id_name not in GROUPS:
                raise DataError(
                    f"there is no {name} group for {id_name}; groups are known for "
                    f"{' and '.join(GROUPS)}: name the sets"
                )
            found += GROUPS[id_name][name]
        else:
            found.append(name)
    return list(dict.fromkeys(found))


def group_of(name: str, id_name: str) -> str:
    """'near' or 'far' for an unshifted set of OpenOOD's groups for the ID set `id_name` (a name or
    label space), '' for any other.
    """
    return next((group for group, names in GROUPS.get(id_name, {}).items() if name in names), "")


def without_overlap(source: AnySet, id_name: str) -> AnySet:
    """`source` without the images whose class the ID set has, too; the note says how many were
    removed.

    `id_name` is the ID set's name or label space (cifar10, cifar100). A set that has no listed
    class comes back as it is.
    """
    if source.label_space == "tiny-imagenet" and id_name.partition(":")[0] in ("folder", "npz"):
        unknown = "no class removed: whether the ID set has some of these is not known (--id-space)"
        return replace(source, note=f"{source.note}; {unknown}" if source.note else unknown)
    listed = OVERLAPS.get(id_name, {}).get(source.label_space, {})
    shared = [number for number, wnid in enumerate(source.classes) if wnid in listed]
    kept = np.flatnonzero(~np.isin(source.labels, shared))
    removed = len(source) - len(kept)
    if not removed:
        return source
    if not len(kept):
        raise DataError(
            f"every image of {source.name} is of a class that {id_name} has, too; choose another "
            "set"
        )
    note = (
        f"{removed:,} of {len(source):,} images removed, of {len(shared)} classes that "
        f"{id_name} "
        "has, too"
    )
    return replace(
        subset(source, kept, source.role), note=f"{source.note}; {note}" if source.note else note
    )
