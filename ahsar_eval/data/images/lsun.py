"""LSUN scenes from the LMDB folders of its authors (Yu et al. 2015)."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ahsar_eval.data.images.classes import LSUN
from ahsar_eval.data.images.content import Content, read_image
from ahsar_eval.data.images.layouts import lsun_folders
from ahsar_eval.data.split import Indices
from ahsar_eval.errors import DataError
from ahsar_eval.progress import progress

_MOST = 2**26  # bytes of one picture


# Not through torchvision.datasets.LSUN: it leaves a pickle of the keys in the current folder and
# executes one that it finds there.
def read_lsun(root: Path, role: str) -> Content:
    """Scenes of one of ten categories; the 10,000 test images have no labels. Raises `DataError`
    for a folder that is no database.
    """
    folders = lsun_folders(role)
    members: list[tuple[Path, bytes]] = []
    labels: list[int] = []
    digest = hashlib.sha256()
    for number, name in enumerate(folders):
        with _Database(root / name) as database:
            for key, value in progress(database.items(), f"reading {name}", unit="image"):
                members.append((root / name, key))
                labels.append(-1 if role == "test" else number)
                digest.update(hashlib.sha256(key).digest() + hashlib.sha256(value).digest())

    def fetch(indices: Indices) -> list[Tensor]:
        return [_read(*members[index]) for index in indices]

    return Content(
        fetch,
        digest.hexdigest(),
        np.asarray(labels, dtype=np.int64),
        () if role == "test" else LSUN,
    )


def _read(folder: Path, key: bytes) -> Tensor:
    # Opened for each image, in some 50 µs: a process may hold one handle for a database, and sets
    # are opened more than once.
    with _Database(folder) as database:
        image = read_image(database.get(key), f"image {key.decode('ascii', 'replace')} of {folder}")
    return image.expand(3, -1, -1) if image.shape[0] == 1 else image


class _Database:
    """A read-only LMDB folder, open inside a `with`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> "_Database":
        import lmdb  # type: ignore[import-not-found,import-untyped,unused-ignore]

        data = self.folder / "data.mdb"
        # The library maps the file: one that is too short for its two header pages would be a fault
        # of memory, not an error.
        if not data.is_file() or data.stat().st_size < 8192:
            raise DataError(
                f"{self.folder} is no LMDB folder (data.mdb is missing or cut short); copy it again"
            )
        try:
            self.environment = lmdb.open(
                str(self.folder),
                readonly=True,
                lock=False,
                readahead=False,
                meminit=False,
                max_readers=1,
            )
        except lmdb.Error as error:
            raise DataError(
                f"{self.folder} cannot be read as LMDB ({error}); copy it again"
            ) from error
        size = self.environment.info()["last_pgno"] + 1
        if size * self.environment.stat()["psize"] > data.stat().st_size:
            self.environment.close()
            raise DataError(
                f"{data} has {data.stat().st_size:,} bytes, less than its header claims; it is cut "
                "short: copy it again"
            )
        return self

    def __exit__(self, *unused: object) -> None:
        self.environment.close()

    def items(self) -> Any:
        with self.environment.begin(write=False) as reading:
            for key, value in reading.cursor():
                if len(value) > _MOST:
                    raise DataError(
                        f"{self.folder} has an entry of {len(value):,} bytes, which is no picture; "
                        "copy it again"
                    )
                yield bytes(key), bytes(value)

    def get(self, key: bytes) -> bytes:
        with self.environment.begin(write=False) as reading:
            return bytes(reading.get(key) or b"")
