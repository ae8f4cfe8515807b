"""Files appear whole or not at all, and hashes do not collide."""

import errno
import hashlib
import os
import stat
import subprocess
import sys

import pytest
import torch

from ahsar_eval.errors import OutputError
from ahsar_eval.files import (
    check_folder_writable,
    csv_text,
    held_alone,
    sha256_of,
    sha256_of_file,
    write_text,
    written_whole,
)


def names(folder):
    return sorted(path.name for path in folder.rglob("*"))


def test_a_file_appears_when_the_block_ends_and_not_before(tmp_path):
    target = tmp_path / "new" / "folder" / "result.csv"
    with written_whole(target) as temporary:
        temporary.write_text("a,b\n")
        assert not target.exists()
        assert temporary.suffix == ".csv"
    assert target.read_text() == "a,b\n"
    assert names(target.parent) == ["result.csv"]


def test_an_error_inside_the_block_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "result.csv"
    target.write_text("old")
    for error in (ValueError("mine"), KeyboardInterrupt(), RuntimeError("of another kind")):

        def fail(error: BaseException = error) -> None:
            with written_whole(target) as temporary:
                temporary.write_text("half of the n")
                raise error

        with pytest.raises(type(error)):
            fail()
        assert target.read_text() == "old"
        assert names(tmp_path) == ["result.csv"]


REASONS = {
    errno.ENOSPC: "No space left on device; choose another place",
    errno.EDQUOT: "Disk quota exceeded",
    errno.EACCES: "Permission denied; choose another place",
    errno.EROFS: "Read-only file system",
    errno.EIO: "Input/output error; choose another place",
}


@pytest.mark.parametrize("number", REASONS)
def test_an_error_of_the_system_becomes_a_sentence(number, tmp_path):
    target = tmp_path / "result.csv"

    def fail() -> None:
        with written_whole(target) as temporary:
            temporary.write_text("half")
            raise OSError(number, os.strerror(number))

    with pytest.raises(OutputError) as refusal:
        fail()
    assert str(refusal.value).startswith(f"cannot write '{target}': ")
    assert REASONS[number] in str(refusal.value)
    assert names(tmp_path) == []


def test_the_message_of_torch_for_a_failed_write_becomes_a_sentence(tmp_path):
    target = tmp_path / "network.pt"

    def fail() -> None:
        with written_whole(target):
            raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    with pytest.raises(OutputError, match="the disk may be full"):
        fail()
    assert names(tmp_path) == []


def test_a_file_where_a_folder_should_be_and_the_other_way_round(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="a part of the path is a file, not a folder"):
        write_text(tmp_path / "file" / "below.txt", "y")
    with pytest.raises(OutputError, match="it is a folder; name a file"):
        write_text(tmp_path, "y")
    assert names(tmp_path) == ["file"]


def test_written_files_have_the_permissions_of_ordinary_ones(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "text.txt", "größer\n")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "text.txt").stat().st_mode) == 0o640
    assert (tmp_path / "text.txt").read_bytes() == "größer\n".encode()


def test_asking_whether_a_folder_can_be_written_leaves_nothing_behind(tmp_path):
    check_folder_writable(tmp_path)
    check_folder_writable(tmp_path / "not" / "yet")
    assert names(tmp_path) == []
    (tmp_path / "file").write_text("x")
    for inside in ("file", "file/below", "file/far/below"):
        with pytest.raises(OutputError, match="a part of the path is a file, not a folder"):
            check_folder_writable(tmp_path / inside)


def test_a_tensor_file_is_written_whole(tmp_path):
    with written_whole(tmp_path / "tensor.pt") as temporary:
        torch.save({"x": torch.arange(3)}, temporary)
    assert torch.load(tmp_path / "tensor.pt", weights_only=True)["x"].tolist() == [0, 1, 2]
    assert names(tmp_path) == ["tensor.pt"]


def test_a_lock_is_held_by_one_and_goes_with_it(tmp_path):
    lock = tmp_path / "folder" / "x.lock"
    with held_alone(lock, "it is taken"):
        code = (
            f"from ahsar_eval.files import held_alone\nwith held_alone({str(lock)!r}, 'it is "
            "taken'): print('held')"
        )
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "UsageError: it is taken at this moment; wait until it ends" in other.stderr
        assert lock.is_file(), "whoever was refused removes nothing"
    assert not lock.exists()
    code = (
        f"import os\nfrom ahsar_eval.files import held_alone\nwith held_alone({str(lock)!r}, "
        "'taken'): os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert lock.is_file(), "left by a process that was killed"
    with held_alone(lock, "it is taken"):
        pass


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.EIO])
def test_without_locks_a_lock_is_ours_and_any_other_failure_is_a_sentence(
    number, tmp_path, monkeypatch
):
    def flock(file, how):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)
    if number == errno.EIO:
        with pytest.raises(OutputError, match="Input/output error"):
            held_alone(tmp_path / "x.lock", "it is taken").__enter__()
    else:
        with held_alone(tmp_path / "x.lock", "it is taken"):
            assert names(tmp_path) == ["x.lock"]


def test_rows_of_other_columns_leave_cells_empty():
    assert csv_text([{"a": 1}, {"b": 0.1, "a": None}]) == "a,b\n1,\n,0.1\n"


def test_hashes(tmp_path):
    (tmp_path / "x").write_bytes(b"abc" * 100_000)
    assert sha256_of_file(tmp_path / "x") == hashlib.sha256(b"abc" * 100_000).hexdigest()
    assert sha256_of("ab", "c") != sha256_of("a", "bc") != sha256_of("abc")
    assert sha256_of("a") == sha256_of(b"a")


def test_a_name_that_is_too_long_is_a_sentence(tmp_path):
    with pytest.raises(OutputError, match="File name too long"):
        write_text(tmp_path / ("n" * 300), "y")
