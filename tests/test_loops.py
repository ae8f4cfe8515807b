"""Compiled loops find a folder that keeps them, or do without; a folder that others could write is
never used.
"""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import numba
import pytest

import ahsar_eval
import ahsar_eval.errors
from ahsar_eval import process

SCRIPT = (
    "import warnings; warnings.simplefilter('always'); import numba; from ahsar_eval.ood.kernels "
    "import needed; "
    "print(needed(0.95, 100.0), numba.config.CACHE_DIR)"
)
READ_ONLY = (
    'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" || exit 99; shift; exec env -i "$@"'
)


def in_read_only_package(**environment: str) -> tuple[str, str]:
    """What SCRIPT prints where nothing can be written beside the source, nor below HOME."""
    if os.geteuid() or shutil.which("unshare") is None:
        pytest.skip("mounting the package read-only needs root and unshare")
    package = Path(ahsar_eval.__file__).parent
    words = [
        f"{name}={value}"
        for name, value in {
            "HOME": "/proc/nohome",
            "PYTHONPATH": str(package.parent),
            **environment,
        }.items()
    ]
    done = subprocess.run(
        [
            "unshare",
            "-m",
            "sh",
            "-c",
            READ_ONLY,
            "sh",
            str(package),
            *words,
            sys.executable,
            "-c",
            SCRIPT,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 99 or "unshare failed" in done.stderr:
        pytest.skip("a folder cannot be mounted read-only here")
    assert done.returncode == 0, done.stderr
    count, _, folder = done.stdout.strip().partition(" ")
    assert count == "95.0"
    assert folder == "" or any(Path(folder).rglob("*.nbi")), "what was compiled is kept there"
    return folder, done.stderr


def test_the_user_s_cache_keeps_them(tmp_path):
    assert in_read_only_package(AHSAR_EVAL_CACHE=str(tmp_path)) == (str(tmp_path / "loops"), "")


def test_else_a_private_folder_for_temporary_files_does(tmp_path):
    folder, said = in_read_only_package(TMPDIR=str(tmp_path))
    assert Path(folder) == tmp_path / f"ahsar-eval-loops-{os.getuid()}"
    assert stat.S_IMODE(Path(folder).stat().st_mode) == 0o700
    assert said == ""


def test_without_any_folder_loops_run_and_it_is_said_once(monkeypatch):
    tried = []

    def refused(cache):
        tried.append(numba.config.CACHE_DIR)
        raise RuntimeError("no locator available")

    monkeypatch.setattr(numba, "njit", refused)
    monkeypatch.setattr(process, "cache_folder", lambda part: Path("a"))
    monkeypatch.setattr(process, "_private_folder", lambda: Path("b"))
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    with pytest.warns(
        ahsar_eval.errors.AhsarWarning, match="name one with AHSAR_EVAL_CACHE"
    ) as said:
        assert not process._loops_are_kept.__wrapped__()
    assert tried == ["", "a", "b"]
    assert len(said) == 1


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="owners and modes are those of POSIX")
@pytest.mark.parametrize("taken", ["open to others", "a link", "a file"])
def test_a_folder_that_is_not_this_user_s_alone_is_not_taken(tmp_path, monkeypatch, taken):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    name = tmp_path / f"ahsar-eval-loops-{os.getuid()}"
    if taken == "open to others":
        name.mkdir()
        name.chmod(0o777)
    elif taken == "a link":
        (tmp_path / "other").mkdir(mode=0o700)
        name.symlink_to(tmp_path / "other")
    else:
        name.write_text("")
    assert process._private_folder() is None
    name.unlink() if name.is_symlink() or name.is_file() else name.rmdir()
    assert process._private_folder() == name
    assert stat.S_IMODE(name.stat().st_mode) == 0o700
