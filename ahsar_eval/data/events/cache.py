"""Prepared frames on disk: made once, found again under the hash of everything that made them.

A split's frames lie in a folder of their own, in chunks of at most 64 samples and 32 MiB (as
float32). A chunk is one .npy file with the SHA-256 of its bytes behind it; it is written whole or
not at all, so a killed run goes on where it stopped, and of two runs at once both may make a chunk
but neither sees half of one. A missing, short or damaged chunk is made again.

When is a chunk made? A request for one sample must not read 64 recordings, and a pass over the set
must not make any twice. So samples are made one by one until a quarter of a chunk's length has been
asked for in this run; then the chunk is made whole. Whatever is asked for, in whatever order, at
most a quarter of the work is done twice; a pass in batches of 16 or more does none of it twice.
"""

import functools
import hashlib
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.data.split import Indices
from ahsar_eval.errors import AhsarWarning, DataError, OutputError
from ahsar_eval.files import cache_folder, sha256_of, written_whole

Frames = NDArray[np.float32]

_MOST_SAMPLES = 64
_MOST_BYTES = 32 * 2**20
_DIGEST_BYTES = 32
# What decides frames beside the split's identity: the readers, framing, corruptions and simulation
# of events, and their randomness.
_FRAME_CODE = ("events/*.py", "randomness.py", "views.py")


@functools.cache
def frame_code_digest() -> str:
    """SHA-256 over the sources that make frames and the version of NumPy: an edit never reads
    frames that older code made.
    """
    root = Path(__file__).parent.parent
    files = sorted(path for pattern in _FRAME_CODE for path in root.glob(pattern))
    return sha256_of(
        np.__version__,
        *(
            part
            for path in files
            for part in (path.relative_to(root).as_posix(), path.read_bytes())
        ),
    )


class FrameCache:
    """The prepared frames of one split. A cache that cannot be written is said once and done
    without.
    """

    def __init__(
        self,
        folder: Path,
        count: int,
        shape: tuple[int, int, int, int],
        make: Callable[[Indices], Frames],
    ) -> None:
        self._folder, self._count, self._shape, self._make = folder, count, shape, make
        self._length = int(np.clip(_MOST_BYTES // (4 * int(np.prod(shape))), 1, _MOST_SAMPLES))
        self._asked: Counter[int] = Counter()
        self._verified: set[int] = set()
        self._spoilt: set[int] = set()
        self._writable = True

    @classmethod
    def of(
        cls,
        identity: str,
        count: int,
        shape: tuple[int, int, int, int],
        make: Callable[[Indices], Frames],
    ) -> "FrameCache":
        """The cache of a split of `count` samples; `make(indices)` gives their frames [n, T, 2, H,
        W] float32, `shape` is (T, 2, H, W).
        """
        key = sha256_of(identity, frame_code_digest(), str(count), str(shape))
        return cls(cache_folder("frames") / key, count, shape, make)

    def at(self, indices: Indices) -> Frames:
        """The frames of `indices` (any order, repeated or not), [n, T, 2, H, W] float32. Raises
        `IndexError` outside 0 … count − 1.
        """
        indices = np.asarray(indices, dtype=np.int64)
        if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < self._count:
            raise IndexError(
                f"samples {indices.min()} to {indices.max()} of a set of {self._count}"
            )
        found = np.empty((len(indices), *self._shape), dtype=np.float32)
        single = np.zeros(len(indices), dtype=bool)
        numbers = indices // self._length
        for number in np.unique(numbers):
            here = numbers == number
            chunk = self._chunk(int(number), int(here.sum()))
            if chunk is None:
                single |= here
            else:
                found[here] = chunk[indices[here] - number * self._length]
        if single.any():
            members, places = np.unique(indices[single], return_inverse=True)
            found[single] = self._make(members)[places]
        return found

    def _chunk(self, number: int, asked: int) -> NDArray[np.generic] | None:
        """A chunk as it lies on disk, made now if enough of it was asked for; None where its
        samples are better made one by one.
        """
        chunk = self._read(number)
        if chunk is not None or not self._writable:
            return chunk
        self._asked[number] += asked
        members = self._members(number)
        if 4 * self._asked[number] < len(members) or number in self._spoilt:
            return None
        try:
            made = _smallest(self._make(members))
        except DataError:
            self._spoilt.add(
                number
            )  # by a sample that perhaps nobody asked for: those that were asked for are made alone
            return None
        self._write(number, made)
        return made

    def _members(self, number: int) -> Indices:
        return np.arange(
            number * self._length, min((number + 1) * self._length, self._count), dtype=np.int64
        )

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06d}.npy"

    def _read(self, number: int) -> NDArray[np.generic] | None:
        """A whole, undamaged chunk, mapped into memory; it is opened for each request, so that a
        large set holds no thousand files open.
        """
        path = self._path(number)
        try:
            if number not in self._verified and not _undamaged(path):
                return None
            chunk = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        if chunk.shape != (len(self._members(number)), *self._shape) or chunk.dtype not in (
            np.uint8,
            np.float32,
        ):
            return None
        self._verified.add(number)
        return chunk

    def _write(self, number: int, made: NDArray[np.generic]) -> None:
        try:
            with written_whole(self._path(number)) as temporary:
                np.save(temporary, made, allow_pickle=False)
                digest = _digest(temporary, temporary.stat().st_size)
                with open(temporary, "ab") as writer:
                    writer.write(digest)
        except OutputError as error:
            self._writable = False
            reason = str(error).partition(": ")[2]
            # The same words for every split of a run, so that Python shows them once.
            message = (
                "prepared frames are not kept: cannot write in "
                f"{str(self._folder.parent)!r}: "
                f"{reason}, or set AHSAR_EVAL_CACHE"
            )
            warnings.warn(message, AhsarWarning, stacklevel=2)


def _smallest(frames: Frames) -> NDArray[np.generic]:
    """Counts that all fit into a byte as bytes, a quarter of the disk; anything else as it is."""
    if frames.size and float(frames.min()) >= 0 and float(frames.max()) <= 255:
        small = frames.astype(np.uint8)
        if np.array_equal(small, frames):
            return small
    return np.ascontiguousarray(frames, dtype=np.float32)


def _digest(path: Path, length: int) -> bytes:
    """SHA-256 of the first `length` bytes of a file, read piece by piece."""
    digest = hashlib.sha256()
    with open(path, "rb") as reader:
        while length > 0 and (piece := reader.read(min(length, 2**20))):
            digest.update(piece)
            length -= len(piece)
    return digest.digest()


def _undamaged(path: Path) -> bool:
    length = path.stat().st_size - _DIGEST_BYTES
    if length <= 0:
        return False
    with open(path, "rb") as reader:
        reader.seek(length)
        return reader.read() == _digest(path, length)
