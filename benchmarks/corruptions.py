"""The 19 corruptions of CIFAR-10-C at severity 3: images per second against a per-image peer, and
memory against the number of images.

    python benchmarks/corruptions.py [--pairs 5] [--images 10000] [--root DIR]

The peer is `imagecorruptions` with CIFAR-10-C's constants (benchmarks/peer_corruptions.py), called
once per image; its elastic transform is another algorithm. Ours is given batches of 256 from float
tensors, the peer images of 8 bits, which is what each is made for. DIR holds cifar10, or a folder
cifar10_jpeg; without either the embedded photo patches are repeated.
"""

import argparse
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pairs import Ratio, compare_rates
from peer_corruptions import CONSTANTS, peer
from PIL import Image

from ahsar_eval.data import DataOptions, open_split
from ahsar_eval.data.sets import default_root
from ahsar_eval.data.shifts import shifted

SEVERITY = 3
BATCH = 256
PEER_IMAGES = 200


def images(count: int, root: Path) -> tuple[torch.Tensor, str]:
    """`count` colour images 32×32 in [0, 1], and where they come from."""
    for name in ("cifar10", f"folder:{root / 'cifar10_jpeg'}"):
        try:
            split = open_split(name, (3, 32, 32), options=DataOptions(root))
        except Exception:
            continue
        return split.tensors(np.arange(min(count, len(split))))[0], split.name
    patches = open_split("photo-patches", (3, 32, 32))
    return patches.tensors(np.arange(count) % len(patches))[0], patches.name


def apply(pixels: torch.Tensor, name: str) -> None:
    """One pass of ours over all images."""
    for start in range(0, len(pixels), BATCH):
        shifted(
            pixels[start : start + BATCH],
            name,
            SEVERITY,
            0,
            np.arange(start, min(start + BATCH, len(pixels))),
        )


def corruptions(pairs: int, count: int = 10_000, root: Path | None = None) -> Iterator[Ratio]:
    """Time per image, ours / peer, for each corruption."""
    import cv2

    cv2.setNumThreads(torch.get_num_threads())
    warnings.filterwarnings("ignore")
    pixels, _ = images(count, root or default_root())
    eight_bits = (pixels[:PEER_IMAGES] * 255).round().byte().permute(0, 2, 3, 1).numpy()
    pictures = [Image.fromarray(one) for one in eight_bits]
    module = peer()
    for name in CONSTANTS:
        function: Callable[..., NDArray[np.generic]] = getattr(module, name)

        def theirs(function: Callable[..., NDArray[np.generic]] = function) -> None:
            for picture in pictures:
                np.asarray(function(picture.copy(), SEVERITY))

        yield compare_rates(
            f"{name}, time per image",
            lambda name=name: apply(pixels, name),
            theirs,
            pairs,
            len(pixels),
            len(pictures),  # type: ignore[misc]
        )


def peak_megabytes(count: int) -> float:
    """Peak memory of a process that corrupts `count` photo patches by every one of the 19, batch by
    batch, reading them as it goes.
    """
    code = f"""
import resource, numpy as np, torch
from ahsar_eval.data import open_split
torch.set_num_threads(1)
for name in {list(CONSTANTS)}:
    split = open_split(f"photo-patches:{{name}}:3", (3, 32, 32))
    for start in range(0, {count}, {BATCH}):
        split.tensors(np.arange(start, start + {BATCH}) % len(split))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
    return float(
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True
        ).stdout
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--root", type=Path, default=default_root())
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    _, source = images(1, arguments.root)
    print(
        f"{arguments.images} images of {source}, severity {SEVERITY}, one thread; peer: "
        f"{PEER_IMAGES} images, one by one"
    )
    print(f"{'corruption':<20} {'ours /s':>10} {'peer /s':>9} {'faster':>8}")
    faster = []
    for ratio in corruptions(arguments.pairs, arguments.images, arguments.root):
        faster.append(1 / ratio.ratio)
        print(
            f"{ratio.name.split(',')[0]:<20} {1 / ratio.ours_s:>10,.0f} {1 / ratio.peer_s:>9,.0f} "
            f"{faster[-1]:>7.1f}x",
            flush=True,
        )
    print(f"geometric mean {np.exp(np.log(faster).mean()):.1f}x, least {min(faster):.1f}x")
    print(
        "peak memory, all 19 in turn: "
        + ", ".join(f"{n:,} images {peak_megabytes(n):,.0f} MiB" for n in (1024, 4096, 16384))
    )


if __name__ == "__main__":
    main()
