"""Make `sets/cifar10-mini.txz` and `sets/n-mnist-mini.txz`, which ship with the package, from the
data beside the clone.

Files go in as they are, byte for byte, as LABEL/NAME in the order of labels, then of numbers in the
names: of the CIFAR-10 test images (JPEG) 100 of each class, drawn by a seed; of N-MNIST every test
recording that is there.

python benchmarks/mini_sets.py ROOT [OUT]    (ROOT: laid out by unpack_data.py; OUT: sets)
"""

import hashlib
import io
import lzma
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ahsar_eval.data.randomness import generator

PER_CLASS = 100
SEED = 0


def ordered(files: Iterable[Path]) -> dict[int, list[Path]]:
    """The files of each class, whose folders are named by its number, by the numbers in their
    names.
    """
    found: dict[int, list[Path]] = {label: [] for label in range(10)}
    for file in sorted(files, key=lambda file: int(file.stem)):
        found[int(file.parent.name)].append(file)
    return found


def drawn(files: Iterable[Path]) -> list[Path]:
    """`PER_CLASS` of each class."""
    found = []
    for label, own in ordered(files).items():
        order = generator(f"mini sets|{SEED}|{label}").permutation(len(own))
        found += [own[i] for i in np.sort(order[:PER_CLASS])]
    return found


def packed(files: Iterable[Path]) -> bytes:
    """A tar archive of `files`, each under the name of its folder, compressed; no owner or time of
    theirs counts.
    """
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for file in files:
            content = file.read_bytes()
            member = tarfile.TarInfo(f"{file.parent.name}/{file.name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return lzma.compress(held.getvalue(), preset=9 | lzma.PRESET_EXTREME)


def main(root: Path, out: Path) -> None:
    made = {
        "cifar10-mini.txz": packed(drawn((root / "cifar10_jpeg" / "test").glob("*/*.jpg"))),
        "n-mnist-mini.txz": packed(
            file
            for own in ordered((root / "NMNIST" / "Test").glob("*/*.bin")).values()
            for file in own
        ),
    }
    lines = []
    for name, content in made.items():
        (out / name).write_bytes(content)
        lines.append(f"{hashlib.sha256(content).hexdigest()}  {name}\n")
        print(f"wrote {out / name}, {len(content):,} bytes")
    (out / "SHA256SUMS").write_text("".join(lines))


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) == 3 else "sets"))
