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
import math
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
    code = [
        part for file in files for part in (file.relative_to(root).as_posix(), file.read_bytes())
    ]
    return sha256_of(np.__version__, *code)


class FrameCache:
    """The prepared frames of one split. Warns once where nothing can be written, and then does
    without.

    The split has `count` samples; `make(indices)` gives their frames [n, T, 2, H, W] float32,
    `shape` is (T, 2, H, W).
    """

    def __init__(
        self,
        identity: str,
        count: int,
        shape: tuple[int, int, int, int],
        make: Callable[[Indices], Frames],
    ) -> None:
        key = sha256_of(identity, frame_code_digest(), str(count), str(shape))
        self._folder = cache_folder("frames") / key
        self._count, self._shape, self._make = count, shape, make
        self._length = min(max(_MOST_BYTES // (4 * math.prod(shape)), 1), _MOST_SAMPLES)
        self._asked: Counter[int] = Counter()
        self._verified: set[int] = set()
        self._spoilt: set[int] = set()
        self._writable = True

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
        path = self._folder / f"{number:06d}.npy"
        start = number * self._length
        members = np.arange(start, min(start + self._length, self._count), dtype=np.int64)
        # Opened for each request, so that a large set holds no thousand files open.
        chunk = _read(path, checked=number in self._verified)
        if (
            chunk is not None
            and chunk.shape == (len(members), *self._shape)
            and chunk.dtype in (np.uint8, np.float32)
        ):
            self._verified.add(number)
            return chunk
        if not self._writable:
            return None
        self._asked[number] += asked
        if 4 * self._asked[number] < len(members) or number in self._spoilt:
            return None
        try:
            made: NDArray[np.generic] = np.ascontiguousarray(self._make(members), np.float32)
        except DataError:
            # By a sample that perhaps nobody asked for: those that were asked for are made alone.
            self._spoilt.add(number)
            return None
        if made.min() >= 0 and made.max() <= 255 and (made == made.astype(np.uint8)).all():
            made = made.astype(np.uint8)  # counts that fit into a byte: a quarter of the disk
        try:
            with written_whole(path) as temporary:
                np.save(temporary, made, allow_pickle=False)
                with open(temporary, "r+b") as file:
                    file.write(hashlib.file_digest(file, "sha256").digest())
        except OutputError as error:
            self._writable = False
            reason = str(error).partition(": ")[2]
            # The same words for every split of a run, so that Python shows them once.
            message = (
                "prepared frames are not kept: cannot write in "
                f"{str(self._folder.parent)!r}: {reason}, or set AHSAR_EVAL_CACHE"
            )
            warnings.warn(message, AhsarWarning, stacklevel=2)
        return made


def _read(path: Path, *, checked: bool) -> NDArray[np.generic] | None:
    """The array of an undamaged file, mapped into memory; None for any other."""
    try:
        if not checked:
            data = path.read_bytes()
            if hashlib.sha256(data[:-_DIGEST_BYTES]).digest() != data[-_DIGEST_BYTES:]:
                return None
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
