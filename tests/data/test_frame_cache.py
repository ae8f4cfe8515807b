"""Prepared frames on disk: what is made when, what is never read again, and what happens to
damaged, shared and unwritable caches.
"""

import hashlib
import os
import subprocess
import sys
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest

from ahsar_eval.data.events import frames
from ahsar_eval.data.events.frames import FrameCache
from ahsar_eval.data.events.stream import Events
from ahsar_eval.data.split import EventSet, View, split_of
from ahsar_eval.errors import AhsarWarning, DataError, OutputError
from ahsar_eval.files import cache_folder

SHAPE = (3, 2, 4, 5)
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch) -> Path:
    """A cache of each test's own."""
    monkeypatch.setenv("AHSAR_EVAL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "frames"


class Maker:
    """Frames whose values tell the sample and the place, and a list of what was asked for."""

    def __init__(self, scale: float = 1.0, shape: tuple[int, int, int, int] = SHAPE) -> None:
        self.scale, self.shape = scale, shape
        self.calls: list[list[int]] = []

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        self.calls.append(indices.tolist())
        return self.frames(indices)

    def frames(self, indices: np.ndarray) -> np.ndarray:
        places = np.arange(np.prod(self.shape)).reshape(self.shape)
        return (((indices[:, None, None, None, None] * 7 + places) % 251) * self.scale).astype(
            np.float32
        )

    @property
    def made(self) -> list[int]:
        return sorted(index for call in self.calls for index in call)


def cache_of(make: Maker, identity: str = "split") -> FrameCache:
    return FrameCache(identity, make.shape, make)


def files(root: Path) -> list[Path]:
    return sorted(file for file in root.rglob("*") if file.is_file())


# What is asked for is what comes


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize(
    "order", [np.arange(200), np.arange(200)[::-1], np.random.default_rng(0).integers(0, 200, 500)]
)
@pytest.mark.parametrize("batch", [1, 7, 64, 500])
def test_any_order_gives_each_sample_its_frames(scale, order, batch):
    make = Maker(scale)
    for found in (cache_of(make), cache_of(make)):  # while it is made, and from the disk
        for start in range(0, len(order), batch):
            indices = order[start : start + batch]
            frames = found.at(indices)
            assert frames.dtype == np.float32
            assert np.array_equal(frames, make.frames(indices))


def test_nothing_asked_is_nothing_made(root):
    make = Maker()
    assert cache_of(make).at(np.zeros(0, dtype=np.int64)).shape == (0, *SHAPE)
    assert make.calls == []
    assert files(root) == []


def test_a_caller_may_change_what_it_got():
    make = Maker()
    found = cache_of(make)
    for _ in range(2):
        frames = found.at(np.arange(64))
        frames += 1
    assert np.array_equal(found.at(np.arange(64)), make.frames(np.arange(64)))


# What is made when


@pytest.mark.parametrize("batch", [1, 16, 200])
def test_a_pass_makes_every_sample_once_and_a_second_none(batch, root):
    make = Maker()
    found = cache_of(make)
    for start in range(0, 200, batch):
        found.at(np.arange(start, min(start + batch, 200)))
    assert make.made == list(range(200))
    again = Maker()
    assert np.array_equal(cache_of(again).at(np.arange(200)), make.frames(np.arange(200)))
    assert again.calls == []
    assert len(files(root)) == 200


def test_a_repeated_sample_is_made_once_per_request():
    make = Maker()
    frames = cache_of(make).at(np.array([9, 3, 9, 9]))
    assert make.calls == [[3, 9]]
    assert np.array_equal(frames, make.frames(np.array([9, 3, 9, 9])))


def test_a_damaged_recording_spoils_only_itself(root):
    make = Maker()

    def broken(indices: np.ndarray) -> np.ndarray:
        if 50 in indices:
            raise DataError("recording 50 is damaged; copy it again")
        return make(indices)

    found = FrameCache("split", SHAPE, broken)
    assert np.array_equal(found.at(np.arange(40)), make.frames(np.arange(40)))
    with pytest.raises(DataError, match="recording 50 is damaged"):
        found.at(np.arange(45, 55))
    assert np.array_equal(found.at(np.arange(60, 128)), make.frames(np.arange(60, 128)))
    assert len(files(root)) == 108


# How it lies on disk


@pytest.mark.parametrize(
    ("values", "bytes_each"), [([0, 1, 255], 1), ([0, 1, 256], 4), ([0, 0.5], 4), ([0, -1], 4)]
)
def test_small_counts_take_a_byte_and_nothing_is_rounded(values, bytes_each, root):
    frames = np.resize(np.array(values, dtype=np.float32), (1, *SHAPE))
    found = FrameCache("split", SHAPE, lambda indices: frames[indices])
    found.at(np.arange(1))
    (file,) = files(root)
    assert file.stat().st_size == frames.size * bytes_each + 32
    assert np.array_equal(cache_of(Maker()).at(np.arange(1)), frames), (
        "read from the disk, not made"
    )


def test_the_folder_is_the_user_s_cache_where_none_is_named(monkeypatch, root):
    assert cache_folder("frames") == root
    monkeypatch.delenv("AHSAR_EVAL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(root / "xdg"))
    assert cache_folder("frames").name == "frames"
    assert "ahsar-eval" in str(cache_folder("frames"))


# Nothing stale is read


def toy(values: str = "toy") -> EventSet:
    rng = np.random.default_rng(0)
    t = np.sort(rng.integers(0, 9000, (20, 50)), axis=1)
    x, y, p = (
        rng.integers(0, high, (20, 50)).astype(kind)
        for high, kind in ((6, np.int32), (8, np.int32), (2, np.uint8))
    )

    def fetch(indices: np.ndarray) -> list[Events]:
        return [Events(t[i], x[i], y[i], p[i], 8, 6) for i in indices]

    return EventSet(
        "toy", "test", np.zeros(20, np.int64), ("a",), values, "toy", fetch, shape=(2, 8, 6)
    )


def test_another_transform_has_frames_of_its_own(root):
    views = [
        View((2, 8, 6), 4, "count"),
        View((2, 8, 6), 5, "count"),
        View((2, 8, 6), 4, "time"),
        View((2, 8, 6), 4, "1000us"),
        View((2, 8, 6), 4, "1001us"),
        View((2, 4, 6), 4, "count"),
    ]
    for _ in range(2):
        for view in views:
            timesteps = view.timesteps or 0
            split = split_of(toy(), view)
            assert split.tensors(np.arange(20)).shape == (timesteps, 20, *view.shape)
    assert len(files(root)) == 20 * len(views)
    split_of(toy("other content"), views[0]).tensors(np.arange(20))
    assert len(files(root)) == 20 * (len(views) + 1)


def test_frames_from_the_disk_are_those_that_were_made(root):
    first, second = (split_of(toy(), View((2, 8, 6), 4)).tensors(np.arange(20)) for _ in range(2))
    assert len(files(root)) == 20
    assert first.equal(second)
    assert float(first.sum()) == 20 * 50
    one = split_of(toy(), View((2, 8, 6), 4)).only(7)
    assert one.tensors(np.array([0])).equal(first[:, 7:8])
    assert len(files(root)) == 20, "a part of a set reads the whole set's files"


def test_other_code_makes_its_own_frames(monkeypatch, root):
    cache_of(Maker()).at(np.arange(200))
    monkeypatch.setattr(frames, "code_digest", lambda: "edited")
    make = Maker(0.5)
    assert np.array_equal(cache_of(make).at(np.arange(200)), make.frames(np.arange(200)))
    assert make.made == list(range(200))


def test_another_numpy_makes_its_own_frames(monkeypatch):
    cache_of(Maker()).at(np.arange(200))
    monkeypatch.setattr(np, "__version__", "0.0")
    make = Maker()
    cache_of(make).at(np.arange(200))
    assert make.made == list(range(200))


# Damage


@pytest.mark.parametrize("kept", [0, 10, 32, 100, -1, -31, -33])
def test_a_short_file_is_made_again(kept, root):
    cache_of(Maker()).at(np.arange(1))
    (file,) = files(root)
    whole = file.read_bytes()
    file.write_bytes(whole[:kept])
    make = Maker()
    assert np.array_equal(cache_of(make).at(np.arange(1)), make.frames(np.arange(1)))
    assert len(make.calls) == 1
    assert file.read_bytes() == whole


def test_no_flipped_byte_is_read(root):
    cache_of(Maker()).at(np.arange(1))
    (file,) = files(root)
    whole = file.read_bytes()
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        make = Maker()
        assert np.array_equal(cache_of(make).at(np.arange(1)), make.frames(np.arange(1)))
        assert len(make.calls) == 1, f"byte {place}"


@pytest.mark.parametrize(
    "foreign", [np.zeros(119, np.uint8), np.zeros(481, np.uint8), np.zeros(SHAPE)]
)
def test_a_whole_file_of_another_length_is_made_again(foreign, root):
    cache_of(Maker()).at(np.arange(1))
    (file,) = files(root)
    file.write_bytes(hashlib.sha256(foreign.tobytes()).digest() + foreign.tobytes())
    make = Maker()
    assert np.array_equal(cache_of(make).at(np.arange(1)), make.frames(np.arange(1)))


def test_a_file_that_vanishes_is_made_again(root):
    make = Maker()
    found = cache_of(make)
    for _ in range(2):
        assert np.array_equal(found.at(np.arange(1)), make.frames(np.arange(1)))
        (file,) = files(root)
        file.unlink()
    assert len(make.calls) == 2


# A cache that cannot be written


def test_an_unwritable_cache_is_said_once_and_done_without(root):
    root.parent.mkdir()
    root.write_text("a file where the folder should be")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default", AhsarWarning)
        for identity in ("one", "two"):
            make = Maker()
            found = cache_of(make, identity=identity)
            for _ in range(2):
                assert np.array_equal(found.at(np.arange(64)), make.frames(np.arange(64)))
            assert make.calls == 2 * [list(range(64))]
    (only,) = said
    assert issubclass(only.category, AhsarWarning)
    assert "prepared frames are not kept: cannot write in" in str(only.message)
    assert (
        "a part of the path is a file, not a folder; choose another place, or set AHSAR_EVAL_CACHE"
        in str(only.message)
    )
    assert "\n" not in str(only.message)


def test_what_lies_in_a_read_only_cache_is_read(monkeypatch):
    cache_of(Maker()).at(np.arange(64))

    def refused(path: Path) -> None:
        raise OutputError(
            f"cannot write {str(path)!r}: the file system is read-only; choose another place"
        )

    monkeypatch.setattr(frames, "written_whole", refused)
    make = Maker()
    found = cache_of(make)
    with pytest.warns(AhsarWarning, match="the file system is read-only"):
        found.at(np.arange(64, 128))
    assert np.array_equal(found.at(np.arange(100)), make.frames(np.arange(100)))
    assert make.calls[1:] == [list(range(64, 100))]


# Other processes


RUNS = """
import os, signal, sys, time
from pathlib import Path
import numpy as np
from ahsar_eval.data.events.frames import FrameCache

folder = Path(sys.argv[1])
places = np.arange(3 * 2 * 4 * 5).reshape(3, 2, 4, 5)

def run(log, deadly, together):
    (folder / log).touch()
    while not all((folder / other).exists() for other in together):
        time.sleep(0.001)

    def frames(indices):
        return ((indices[:, None, None, None, None] * 7 + places) % 251).astype(np.float32)

    def make(indices):
        with (folder / log).open("a") as writer:
            writer.write(f"{indices[0]}\\n")
        if indices[0] == deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.02)
        return frames(indices)

    cache = FrameCache("split", (3, 2, 4, 5), make)
    for start in range(0, 640, 32):
        indices = np.arange(start, start + 32)
        assert np.array_equal(cache.at(indices), frames(indices)), start

def started(*arguments):
    process = os.fork()
    if process == 0:
        try:
            run(*arguments)
        except BaseException as error:
            print(error, file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return process

assert os.WTERMSIG(os.waitpid(started("killed", 320, []), 0)[1]) == signal.SIGKILL
print(*sorted(file.name for file in Path(os.environ["AHSAR_EVAL_CACHE"], "frames").rglob("*") if file.is_file()))
print(*[os.waitpid(process, 0)[1] for process in [started("one", -1, ["two"]), started("two", -1, ["one"])]])
"""


def test_a_killed_run_is_resumed_by_two_at_once(tmp_path, root):
    """One process is killed while it makes its eleventh batch; two others start at the same moment and
    go on from there.
    """
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", RUNS, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    after_the_kill, ends = done.stdout.splitlines()
    assert after_the_kill.split() == [f"{number:06d}" for number in range(320)]
    assert ends == "0 0", done.stderr
    made = [
        [int(line) for line in (tmp_path / log).read_text().split()]
        for log in ("killed", "one", "two")
    ]
    assert made[0] == list(range(0, 321, 32))
    assert min(made[1] + made[2]) >= 320, (
        "what the killed run had made was made again, or not all was made"
    )
    make = Maker()
    assert np.array_equal(cache_of(make).at(np.arange(640)), make.frames(np.arange(640)))
    assert make.calls == []
    assert not [file for file in root.rglob("*") if ".tmp" in file.name], (
        "something half-written was left"
    )


# Memory


def test_memory_is_flat_in_the_number_of_samples():
    peaks = []
    for count in (200, 2000):
        make = Maker(shape=(4, 2, 24, 24))
        for _ in range(2):
            found = cache_of(make, identity=str(count))
            tracemalloc.start()
            for start in range(0, count, 50):
                found.at(np.arange(start, start + 50))
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
            make.calls.clear()
    assert peaks[2] < 1.2 * peaks[0]
    assert peaks[3] < 1.2 * peaks[1]
