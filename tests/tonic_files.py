"""Small data roots in the layouts of tonic's sets, written by hand."""

import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
from numpy.typing import NDArray

EVENTS = 40


def write_hsd(file: Path, samples: int, seed: int, classes: int = 2) -> None:
    """The layout of SHD and SSC: times float16 in seconds, units below 700. Each class sounds in a
    band of channels.
    """
    made = np.random.default_rng(seed)
    file.parent.mkdir(parents=True, exist_ok=True)
    labels = np.arange(samples) % classes
    with h5py.File(file, "w") as out:
        times = out.create_dataset("spikes/times", (samples,), h5py.vlen_dtype(np.float16))
        units = out.create_dataset("spikes/units", (samples,), h5py.vlen_dtype(np.uint16))
        for i, label in enumerate(labels):
            count = int(made.integers(150, 300))
            places = made.normal(150 + 350 * label / max(classes - 1, 1), 60, count)
            times[i] = np.sort(made.random(count)).astype(np.float16)
            units[i] = np.clip(places, 0, 699).astype(np.uint16)
        out["labels"] = labels.astype(np.uint16)
        out["extra/keys"] = np.array([f"word {i}".encode() for i in range(classes)])
        out["extra/speaker"] = np.zeros(samples, dtype=np.uint16)


def write_shd(root: Path) -> None:
    """24 training and 12 test samples of SHD."""
    write_hsd(root / "SHD" / "shd_train.h5", 24, 1)
    write_hsd(root / "SHD" / "shd_test.h5", 12, 2)


def write_ssc(root: Path) -> None:
    """Six samples of each split of SSC."""
    for seed, split in enumerate(("train", "valid", "test")):
        write_hsd(root / "SSC" / f"ssc_{split}.h5", 6, seed, classes=3)


def _columns(made: np.random.Generator, width: int, height: int) -> dict[str, NDArray[Any]]:
    ends = {"x": width, "y": height, "p": 2}
    columns = {key: made.integers(0, end, EVENTS) for key, end in ends.items()}
    return {"t": np.sort(made.integers(0, 300_000, EVENTS)), **columns}


def _atis(columns: dict[str, NDArray[Any]]) -> bytes:
    """Five bytes an event: x, y, and polarity above 23 bits of time."""
    words = zip(*(columns[key].tolist() for key in "xypt"), strict=True)
    return b"".join(struct.pack(">BB", x, y) + (p << 23 | t).to_bytes(3) for x, y, p, t in words)


def write_nmnist(root: Path, numbers: tuple[int, ...] = (2, 10)) -> None:
    """Recordings of three digits in both parts."""
    made = np.random.default_rng(0)
    for part in ("Train", "Test"):
        for digit in (0, 3, 7):
            folder = root / "NMNIST" / part / str(digit)
            folder.mkdir(parents=True)
            for number in numbers:
                (folder / f"{number:05}.bin").write_bytes(_atis(_columns(made, 34, 34)))


def write_ncaltech101(root: Path) -> None:
    """Eleven recordings of each of two classes, so that two of them are test."""
    made = np.random.default_rng(1)
    for name in ("BACKGROUND_Google", "ant"):
        folder = root / "NCALTECH101" / "Caltech101" / name
        folder.mkdir(parents=True)
        for number in range(1, 12):
            (folder / f"image_{number}.bin").write_bytes(_atis(_columns(made, 150, 120)))


def write_pokerdvs(root: Path) -> None:
    """One recording of two suits, t, x, y, p in columns."""
    made = np.random.default_rng(2)
    for part in ("pips_train", "pips_test"):
        for suit in ("he", "sp"):
            folder = root / "POKERDVS" / part / suit
            folder.mkdir(parents=True)
            columns = _columns(made, 35, 35)
            np.save(folder / "00.npy", np.stack([columns[key] for key in "txyp"], 1))


def write_dvsgesture(root: Path) -> None:
    """Two gestures of two users, columns x, y, p, t in ms."""
    made = np.random.default_rng(3)
    for part in ("ibmGestureTrain", "ibmGestureTest"):
        for user in ("user02_led", "user10_lab"):
            folder = root / "DVSGesture" / part / user
            folder.mkdir(parents=True)
            for label in (0, 10):
                columns = _columns(made, 128, 128)
                np.save(folder / f"{label}.npy", np.stack([columns[key] for key in "xypt"], 1))


def write_dvslip(root: Path) -> None:
    """Two words, structured arrays."""
    made = np.random.default_rng(4)
    for part in ("train", "test"):
        for word in ("young", "about", "accused"):
            if word == "about":  # no class of the set
                continue
            folder = root / "DVSLip" / "DVS-Lip" / part / word
            folder.mkdir(parents=True)
            columns = _columns(made, 128, 128)
            record = np.zeros(EVENTS, dtype=[(key, np.int64) for key in "txyp"])
            for key in "txyp":
                record[key] = columns[key]
            np.save(folder / "0.npy", record)


def write_asldvs(root: Path) -> None:
    """Eleven recordings of two letters, columns [E, 1]."""
    made = np.random.default_rng(5)
    for letter in "ay":
        folder = root / "ASLDVS" / letter
        folder.mkdir(parents=True)
        for number in range(11):
            columns = _columns(made, 240, 180)
            held = {"ts": columns["t"], "x": columns["x"], "y": columns["y"], "pol": columns["p"]}
            scipy.io.savemat(
                folder / f"{letter}_{number}.mat", {key: one[:, None] for key, one in held.items()}
            )


def write_smnist(root: Path) -> None:
    """Three images of MNIST's files."""
    made = np.random.default_rng(6)
    (root / "smnist").mkdir()
    for part in ("train", "t10k"):
        images = made.integers(0, 256, (3, 28, 28), dtype=np.uint8)
        head = struct.pack(">IIII", 2051, 3, 28, 28)
        (root / "smnist" / f"{part}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        labels = struct.pack(">II", 2049, 3) + bytes([5, 0, 9])
        (root / "smnist" / f"{part}-labels-idx1-ubyte").write_bytes(labels)


def write_ntidigits(root: Path) -> None:
    """Two digits and a sequence of digits, of which two are single."""
    made = np.random.default_rng(7)
    (root / "NTIDIGITS18").mkdir()
    with h5py.File(root / "NTIDIGITS18" / "n-tidigits.hdf5", "w") as file:
        for part in ("train", "test"):
            names = [f"man-a-{part}-{digits}" for digits in ("z", "12", "4")]
            file[f"{part}_labels"] = np.array([name.encode() for name in names])
            for name in names:
                file[f"{part}_addresses/{name}"] = made.integers(0, 64, EVENTS)
                file[f"{part}_timestamps/{name}"] = np.sort(made.random(EVENTS))
