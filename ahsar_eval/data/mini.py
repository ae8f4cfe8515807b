"""Samples of two sets that ship with the package, for real data without a download: 1,000 test
images of CIFAR-10 and 100 test recordings of N-MNIST.

`benchmarks/mini_sets.py` made the archives; the files in them, LABEL/NAME, are those of the sets,
byte for byte. Nothing is unpacked to disk. Sources and licences: `sets/README.md`.
"""

import functools
import tarfile
from typing import Any

import numpy as np

from ahsar_eval.data.events.cameras import decoded_bin
from ahsar_eval.data.events.stream import Events, checked
from ahsar_eval.data.images import read_image
from ahsar_eval.data.sets import classes_of, embedded_file
from ahsar_eval.data.split import EventSet, ImageSet, Indices
from ahsar_eval.errors import DataError, unreadable
from ahsar_eval.files import sha256_of

_SENSOR = (34, 34)


@functools.cache
def _files(name: str) -> tuple[tuple[str, bytes], ...]:
    """Names and contents of the files in an archive, in its order. Raises `DataError`."""
    place = embedded_file(f"sets/{name}.txz")
    with (
        unreadable(f"{place} cannot be read", "install ahsar-eval again"),
        tarfile.open(place) as archive,
    ):
        read = ((member.name, archive.extractfile(member)) for member in archive)
        return tuple((name, file.read()) for name, file in read if file)


def _opened(
    name: str, role: str, label_space: str
) -> tuple[tuple[tuple[str, bytes], ...], dict[str, Any]]:
    """The files of a set, and what a set says of itself."""
    if role != "test":
        raise DataError(f"{name} has no split {role!r}; it holds test samples alone")
    files = _files(name)
    return files, {
        "name": name,
        "role": role,
        "labels": np.array([int(one.partition("/")[0]) for one, _ in files], dtype=np.int64),
        "classes": classes_of(label_space),
        "identity": sha256_of(name, *(part for file in files for part in file)),
        "label_space": label_space,
    }


def cifar10_mini(role: str) -> ImageSet:
    """100 test images of each class of CIFAR-10 as JPEG, 32×32; `role` is test. Raises
    `DataError`.
    """
    files, facts = _opened("cifar10-mini", role, "cifar10")
    return ImageSet(
        **facts,
        fetch=lambda indices: [read_image(files[i][1], files[i][0]) for i in indices],
        shape=(3, 32, 32),
        note=(
            "1,000 of the 10,000 test images of CIFAR-10 (Krizhevsky 2009), 100 of each class, as "
            "JPEG of quality 75: not bit-exact; cs.toronto.edu/~kriz/cifar.html states no licence"
        ),
    )


def n_mnist_mini(role: str) -> EventSet:
    """100 test recordings of N-MNIST, 34×34; `role` is test. Raises `DataError`."""
    files, facts = _opened("n-mnist-mini", role, "digits")
    height, width = _SENSOR

    def fetch(indices: Indices) -> list[Events]:
        found = []
        for i in indices:
            name, content = files[i]
            read = decoded_bin(content)
            columns = read.t, read.x, read.y, read.p
            found.append(checked(*columns, height=height, width=width, name=name))
        return found

    return EventSet(
        **facts,
        fetch=fetch,
        shape=(2, height, width),
        note=(
            "100 of the 10,000 test recordings of N-MNIST (Orchard et al. 2015, "
            "garrickorchard.com/datasets/n-mnist), 2 to 15 of each digit, CC BY-SA 4.0"
        ),
    )
