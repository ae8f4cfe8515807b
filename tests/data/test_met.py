"""What a folder holds is read or counted: nothing is left out in silence."""

import os
from collections import Counter
from pathlib import Path

import pytest

from ahsar_eval.data.met import files_below, loose_files, natural, not_read, subfolders

# What lies in a folder → kinds that are not read, where .png is read
KINDS = {
    "a.png": {},
    "A.PNG": {},
    "b.gif": {".gif file": 1},
    "readme": {"other file": 1},
    "scan.0001": {"other file": 1},
    "odd.\x1b[31m": {"other file": 1},
    "notes.TXT": {".txt file": 1},
    ".DS_Store": {"hidden file": 1},
    "Thumbs.db": {"hidden file": 1},
    "desktop.ini": {"hidden file": 1},
    "._a.png": {"hidden file": 1},
    ".ipynb_checkpoints/a.png": {"hidden folder": 1},
    "__MACOSX/a.png": {"hidden folder": 1},
    "deep/er/a.png": {},
    "deep/er/b.gif": {".gif file": 1},
}


@pytest.mark.parametrize("name", KINDS)
def test_each_file_is_read_or_counted(name, tmp_path):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    skipped: Counter[str] = Counter()
    found = files_below(tmp_path, (".png",), skipped)
    assert (found, dict(skipped)) == ([] if KINDS[name] else [tmp_path / name], KINDS[name])


def test_links_are_followed_to_files_and_counted_otherwise(tmp_path):
    place, other = tmp_path / "set", tmp_path / "other"
    (other / "x").mkdir(parents=True)
    (other / "a.png").touch()
    place.mkdir()
    for link, target in {
        "file.png": other / "a.png",
        "folder": other,
        "gone.png": "nowhere",
        "loop": "loop",
        "up": tmp_path,
    }.items():
        os.symlink(target, place / link)
    os.mkfifo(place / "pipe.png")
    skipped: Counter[str] = Counter()
    assert files_below(place, (".png",), skipped) == [place / "file.png"]
    assert skipped == {"linked folder": 2, "broken link": 2, "special file": 1}
    skipped.clear()
    assert subfolders(place, skipped) == [place / "folder"]
    assert skipped == {"link to a folder above": 1}


def test_folders_are_sorted_by_number_and_hidden_ones_are_none(tmp_path):
    names = ["10", "9", "2", "0", "b10", "b9", "Z", "a"]
    for name in (*names, ".Trashes", "__MACOSX", ".ipynb_checkpoints"):
        (tmp_path / name).mkdir()
    skipped: Counter[str] = Counter()
    found = [path.name for path in subfolders(tmp_path, skipped)]
    assert found == ["0", "2", "9", "10", "Z", "a", "b9", "b10"]
    assert skipped == {"hidden folder": 3}
    assert sorted(names, key=natural) == found


def test_files_beside_the_folders_of_classes(tmp_path):
    (tmp_path / "cat").mkdir()
    for name in ("a.png", "b.txt", ".hidden"):
        (tmp_path / name).touch()
    skipped: Counter[str] = Counter()
    loose_files(tmp_path, skipped)
    assert skipped == {"loose .png file": 1, "loose .txt file": 1, "hidden file": 1}


@pytest.mark.parametrize(
    ("skipped", "sentence"),
    [
        ({}, ""),
        ({".gif file": 0}, ""),
        ({".gif file": 1}, "1 .gif file was not read"),
        ({".gif file": 75}, "75 .gif files were not read"),
        ({".a file": 1, ".b file": 2}, "2 .b files and 1 .a file were not read"),
        (
            {"link to a folder above": 2, "hidden folder": 3, "other file": 1200},
            "1,200 other files, 3 hidden folders and 2 links to a folder above were not read",
        ),
        (
            {f".k{i} file": 10 - i for i in range(8)},
            "10 .k0 files, 9 .k1 files, 8 .k2 files, 7 .k3 files, 6 .k4 files, 5 .k5 files and "
            "7 files of other kinds were not read",
        ),
    ],
)
def test_one_sentence_says_what_was_not_read(skipped, sentence):
    assert not_read(skipped) == sentence


def test_a_folder_that_cannot_be_listed_is_not_left_out():
    for function in (lambda path: files_below(path, ()), subfolders):
        with pytest.raises(OSError, match="No such file"):
            function(Path("gone"))
