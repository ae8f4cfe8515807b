"""Framing of event recordings against tonic's `ToFrame`, on real N-MNIST recordings.

    python benchmarks/framing.py [ROOT] [--pairs 30]

ROOT holds `NMNIST/Test/<label>/<id>.bin` (default: the data root of the package). Where it does
not, recordings of `digits-dvs`, which are simulated, take their place, and the lines say so.
Tonic's frames are int16 and lose trailing events; ours are float32 and lose none.
"""

import argparse
import platform
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tonic
from pairs import HEADER, Ratio, compare
from tonic.io import read_mnist_file
from tonic.transforms import ToFrame

from ahsar_eval.data.events.digits_dvs import digits_dvs
from ahsar_eval.data.events.frames import to_frames
from ahsar_eval.data.events.stream import Events, checked
from ahsar_eval.data.sets import default_root

RECORDINGS = 100
DTYPE = np.dtype([("x", int), ("y", int), ("t", int), ("p", int)])  # tonic's own for N-MNIST
# Time steps and framing of ours, and what tonic calls them. 300 steps of 1 ms are those of the
# published NIR network for N-MNIST.
CASES = [
    (6, "count", {"n_event_bins": 6}),
    (10, "count", {"n_event_bins": 10}),
    (10, "time", {"n_time_bins": 10}),
    (20, "time", {"n_time_bins": 20}),
    (300, "time", {"n_time_bins": 300}),
    (300, "1000us", {"time_window": 1000, "include_incomplete": True}),
]


def recordings(root: Path) -> tuple[str, list[Events]]:
    """A hundred recordings and the name of their set."""
    files = sorted((root / "NMNIST" / "Test").glob("*/*.bin"))[:RECORDINGS]
    if not files:
        return "simulated digits-dvs", list(digits_dvs("test").fetch(np.arange(RECORDINGS)))
    tables = [(file, read_mnist_file(str(file), DTYPE)) for file in files]
    return "N-MNIST", [
        checked(*(table[key] for key in "txyp"), height=34, width=34, name=str(file))
        for file, table in tables
    ]


def framing(pairs: int, root: Path | None = None) -> Iterator[Ratio]:
    """A hundred recordings framed at the sensor's size, events to frames in memory."""
    name, found = recordings(root or default_root())
    tables = []
    for events in found:
        table = np.empty(len(events), dtype=DTYPE)
        for key in "xytp":
            table[key] = getattr(events, key)
        tables.append(table)
    for timesteps, text, arguments in CASES:
        peer_transform = ToFrame(sensor_size=(34, 34, 2), **arguments)

        def ours(timesteps: int = timesteps, text: str = text) -> None:
            for events in found:
                to_frames(events, timesteps, text, 34, 34)

        def peer(transform: ToFrame = peer_transform) -> None:
            for table in tables:
                transform(table)

        yield compare(
            f"frames of {len(found)} {name}, T = {timesteps}, {text} / tonic", ours, peer, pairs
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path, nargs="?")
    parser.add_argument("--pairs", type=int, default=30)
    arguments = parser.parse_args()
    print(f"numpy {np.__version__}, tonic {tonic.__version__}, Python {platform.python_version()}")
    print(HEADER, flush=True)
    for ratio in framing(arguments.pairs, arguments.root):
        print(ratio.line(), flush=True)


if __name__ == "__main__":
    main()
