"""Sets of tonic by name and as objects: against tonic's own iteration, and SHD against h5py by
hand, on files written here.
"""

import struct
from pathlib import Path

import h5py
import numpy as np
import pytest
import tonic

from ahsar_eval.data import DataOptions, EventSet, open_set
from ahsar_eval.data.events.frames import to_frames
from ahsar_eval.data.given import as_set
from ahsar_eval.data.split import View, split_of


def write_hsd(file: Path, samples: int, seed: int, classes: int = 2) -> Path:
    """A file in the layout of SHD and SSC: times float16 in seconds, units below 700; the classes
    sound in other bands of channels.
    """
    made = np.random.default_rng(seed)
    file.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(file, "w") as out:
        spikes, extra = out.create_group("spikes"), out.create_group("extra")
        kinds = {"times": np.float16, "units": np.uint16}
        held = {
            name: spikes.create_dataset(name, (samples,), h5py.vlen_dtype(kind))
            for name, kind in kinds.items()
        }
        labels = np.arange(samples) % classes
        for i in range(samples):
            count = int(made.integers(150, 300))
            units = made.normal(150 + 350 * labels[i] / max(classes - 1, 1), 60, count)
            held["times"][i] = np.sort(made.random(count)).astype(np.float16)
            held["units"][i] = np.clip(units, 0, 699).astype(np.uint16)
        out["labels"] = labels.astype(np.uint16)
        extra["keys"] = np.array([f"word {i}".encode() for i in range(classes)])
        extra["speaker"] = np.zeros(samples, dtype=np.uint16)
    return file


def write_shd(root: Path) -> Path:
    """A data root that holds 24 training and 12 test samples of SHD."""
    write_hsd(root / "SHD" / "shd_train.h5", 24, 1)
    write_hsd(root / "SHD" / "shd_test.h5", 12, 2)
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_shd(tmp_path_factory.mktemp("root"))
    for split in ("train", "valid", "test"):
        write_hsd(root / "SSC" / f"ssc_{split}.h5", 6, 3, classes=3)
    write_nmnist(root)
    return root


def write_nmnist(root: Path) -> None:
    """Two recordings of each of three digits in both folders, in the five bytes of N-MNIST."""
    made = np.random.default_rng(0)
    for part in ("Train", "Test"):
        for digit in (0, 3, 7):
            for number in (2, 10):
                file = root / "NMNIST" / part / str(digit) / f"{number:05}.bin"
                file.parent.mkdir(parents=True, exist_ok=True)
                t = np.sort(made.integers(0, 300_000, 40))
                x, y, p = (
                    made.integers(0, 34, 40),
                    made.integers(0, 34, 40),
                    made.integers(0, 2, 40),
                )
                words = zip(x, y, (p << 23) | t, strict=True)
                file.write_bytes(
                    b"".join(
                        struct.pack(">BB", a, b) + int(w).to_bytes(3, "big") for a, b, w in words
                    )
                )


def opened(name: str, root: Path, role: str = "test") -> EventSet:
    found = open_set(name, role, DataOptions(root=root))
    assert isinstance(found, EventSet)
    return found


def test_shd_is_what_h5py_holds(root):
    found = opened("tonic:SHD", root)
    assert found.shape == (1, 1, 700)
    assert found.classes == ("word 0", "word 1")
    with h5py.File(root / "SHD" / "shd_test.h5") as file:
        assert np.array_equal(found.labels, file["labels"][()])
        for i, events in enumerate(found.fetch(np.arange(12))):
            seconds, units = file["spikes/times"][i], file["spikes/units"][i]
            assert np.array_equal(events.t, (seconds.astype(np.float64) * 1e6).astype(np.int64))
            assert np.array_equal(events.x, units)
            assert (events.y.max(), events.p.max(), events.polarities) == (0, 0, 1)
    # Counts per channel and 100 ms by hand.
    (events,) = found.fetch(np.array([4]))
    frames = to_frames(events, 10, "100000us@0", 1, 700)
    hand = np.zeros((10, 1, 1, 700))
    for t, x in zip(events.t, events.x, strict=True):
        if t < 1_000_000:
            hand[t // 100_000, 0, 0, x] += 1
    assert np.array_equal(frames, hand)
    # 140 channels: the mean of five neighbours.
    fifth = split_of(found, View((1, 1, 140), 10, "100000us@0")).tensors(np.array([4]))
    assert np.allclose(fifth[:, 0, 0, 0].numpy(), hand[:, 0, 0].reshape(10, 140, 5).mean(2))


@pytest.mark.parametrize("name", ["NMNIST", "SHD"])
def test_a_class_by_name_is_tonics_own_iteration(root, name, monkeypatch):
    found = opened(f"tonic:{name}", root)
    # tonic itself wants the archive and all files.
    monkeypatch.setattr(getattr(tonic.datasets, name), "_check_exists", lambda self: True)
    theirs = getattr(tonic.datasets, name)(str(root), train=False)
    assert len(found) == len(theirs)
    for i, (events, target) in enumerate(theirs):
        if i == len(found):
            break
        (ours,) = found.fetch(np.array([i]))
        assert found.labels[i] == target
        for field in events.dtype.names:
            if field != "p" or found.polarities == 2:
                assert np.array_equal(getattr(ours, field), events[field]), (i, field)
    # The object is the same set, and so finds the same recordings.
    given = as_set(theirs, "mine")
    assert given.identity == found.identity
    assert (given.classes, given.label_space) == (found.classes, found.label_space)
