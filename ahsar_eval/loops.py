"""numba as all compiled loops use it: what it compiled is kept between runs, wherever that is
possible.

Imported only by modules of loops (`kernels`), and those only when a loop runs: numba takes a tenth
of a second to import, and a command that finds everything stored needs none.
"""

import atexit
import functools
import os
import shutil
import stat
import tempfile
import warnings
from pathlib import Path

import numba

from ahsar_eval.errors import AhsarWarning
from ahsar_eval.files import cache_folder


def _probe() -> None:
    """Stands for all loops: numba keeps compiled code beside the source, or in the user's cache."""


def _kept() -> bool:
    """Make numba find a folder for what it compiled; False where there is none at all."""
    if _has_place():
        return True
    for folder in (_own_cache(), _private_folder()):
        if folder is not None:
            numba.config.CACHE_DIR = str(folder)
            if _has_place():
                return True
    warnings.warn(
        "no folder can be written that would keep compiled loops, so they are compiled anew each "
        "time; name one with AHSAR_EVAL_CACHE",
        AhsarWarning,
        stacklevel=2,
    )
    return False


def _has_place() -> bool:
    try:
        numba.njit(cache=True)(_probe)
    except RuntimeError:  # "no locator available"
        return False
    return True


def _own_cache() -> Path | None:
    folder = cache_folder("loops")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder


def _private_folder() -> Path | None:
    """A folder for temporary files that is this user's alone: what lies in it is executed."""
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    folder = Path(tempfile.gettempdir()) / f"ahsar-eval-loops-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        alone = found.st_uid == user and not stat.S_IMODE(found.st_mode) & 0o077
        if stat.S_ISDIR(found.st_mode) and (alone or os.name == "nt"):
            return folder
        folder = Path(tempfile.mkdtemp(prefix="ahsar-eval-loops-"))  # the name is somebody else's
    except OSError:
        return None
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


njit = functools.partial(numba.njit, cache=_kept())
