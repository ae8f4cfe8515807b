"""The sets that ship with the package: what they hold is what the sets they are taken from hold."""

import hashlib
import io
import json
import runpy
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ahsar_eval.data import DataOptions, View, mini, open_set, open_split
from ahsar_eval.errors import AhsarWarning, DataError
from ahsar_eval.evaluation import inputs
from ahsar_eval.files import shipped
from ahsar_eval.networks.checkpoints import default_pair

ARCHIVES = shipped("sets", ".txz")
COUNTS = {
    "cifar10-mini": [100] * 10,
    "n-mnist-mini": [8, 14, 8, 11, 14, 7, 10, 15, 2, 11],
}


def held(name: str | Path) -> dict[str, bytes]:
    """Contents of the files in an archive as LABEL/NAME."""
    with tarfile.open(ARCHIVES.get(str(name), name)) as archive:
        return {
            "/".join(Path(member.name).parts[-2:]): file.read()
            for member in archive
            if (file := archive.extractfile(member))
        }


def test_the_sums_are_those_of_the_files():
    folder = ARCHIVES["cifar10-mini"].parent
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    listed = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert set(listed) == {f"{name}.txz" for name in COUNTS}
    for name, digest in listed.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("name", COUNTS)
def test_files_are_named_by_label_and_number_in_order(name):
    found = open_set(name)
    names = [Path(file) for file in held(name)]
    order = [(int(file.parent.name), int(file.stem)) for file in names]
    assert order == sorted(set(order))
    assert found.labels.tolist() == [label for label, _ in order]
    assert np.bincount(found.labels).tolist() == COUNTS[name]
    assert {file.suffix for file in names} == {".jpg" if "cifar" in name else ".bin"}


def test_images_are_what_pillow_decodes():
    found, files = open_set("cifar10-mini"), list(held("cifar10-mini").values())
    assert found.shape == (3, 32, 32)
    assert found.classes[:2] == ("airplane", "automobile")
    members = np.array([999, 0, 517])
    for image, member in zip(found.fetch(members), members, strict=True):
        picture = Image.open(io.BytesIO(files[member]))
        assert (picture.format, picture.size, picture.mode) == ("JPEG", (32, 32), "RGB")
        pixels = np.asarray(picture).transpose(2, 0, 1)
        assert np.array_equal((image.numpy() * 255).round(), pixels)


def test_recordings_are_what_the_bits_say():
    found, files = open_set("n-mnist-mini"), list(held("n-mnist-mini").values())
    members = np.array([99, 0, 43])
    for events, member in zip(found.fetch(members), members, strict=True):
        assert (2, events.height, events.width) == found.shape == (2, 34, 34)
        content = files[member]
        words = [int.from_bytes(content[i : i + 5], "big") for i in range(0, len(content), 5)]
        assert events.x.tolist() == [word >> 32 for word in words]
        assert events.y.tolist() == [word >> 24 & 255 for word in words]
        assert events.p.tolist() == [word >> 23 & 1 for word in words]
        assert events.t.tolist() == [word & 0x7FFFFF for word in words]


def test_images_are_test_images_drawn_as_the_maker_draws(shared_data, repository):
    whole = held(shared_data / "cifar10_jpeg" / "test10000_jpegs.tar.xz")
    assert len(whole) == 10_000
    chosen = held("cifar10-mini")
    assert chosen == {name: whole[name] for name in chosen}
    maker = runpy.run_path(str(repository / "benchmarks" / "mini_sets.py"))
    again = maker["drawn"](map(Path, reversed(whole)))
    assert [path.as_posix() for path in again] == list(chosen)


def test_recordings_are_all_test_recordings_that_are_there(shared_data):
    with zipfile.ZipFile(shared_data / "nmnist_1100" / "NMNIST_1100.zip") as archive:
        whole = {
            "/".join(Path(name).parts[-2:]): archive.read(name)
            for name in archive.namelist()
            if "Test/" in name and name.endswith(".bin")
        }
    assert held("n-mnist-mini") == whole


def test_an_archive_is_the_same_whenever_it_is_made(tmp_path, repository):
    maker = runpy.run_path(str(repository / "benchmarks" / "mini_sets.py"))
    archives = []
    for place, order in (("a", 1), ("b", -1)):
        files = [tmp_path / place / "3" / f"{number}.bin" for number in (9, 10)]
        files[0].parent.mkdir(parents=True)
        for file in files[::order]:
            file.write_bytes(file.name.encode())
        archives.append(maker["packed"](maker["ordered"](files[::order])[3]))
    assert archives[0] == archives[1]
    with tarfile.open(fileobj=io.BytesIO(archives[0])) as archive:
        assert archive.getnames() == ["3/9.bin", "3/10.bin"]


# What they stand for


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("role", ["train", "validation", "all"])
def test_there_is_a_test_split_alone(name, role):
    with pytest.raises(DataError, match=f"{name} has no split '{role}'; it holds test samples"):
        open_set(name, role)


@pytest.mark.parametrize(
    ("words", "because"),
    [
        (
            ("ood", "--id", "cifar10-mini", "--ood", "photo-patches", "--score", "knn"),
            "knn must be fitted on training data, and cifar10-mini has no training split",
        ),
        (("train", "--data", "n-mnist-mini", "--out", "x.pt"), "n-mnist-mini has no split 'train'"),
        (
            ("ood", "--id", "n-mnist-mini", "--ood", "n-mnist-mini:fog:3"),
            "unknown shift 'fog' in 'n-mnist-mini:fog:3'",
        ),
    ],
)
def test_what_they_cannot_give_is_one_sentence(words, because, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = command(*words)
    assert (done.code, done.out) == (2, "")
    assert because in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "ood", "low"),
    [("cifar10-mini", "photo-patches", 0.5), ("n-mnist-mini", "digits-dvs", 0.8)],
)
def test_the_networks_trained_for_them_are_the_default(name, ood, low, command):
    """Labels are in the order of the networks' outputs: on 40 of them accuracy is near that of the
    whole test set, 0.74 and 0.97.
    """
    words = ("ood", "--ood", ood, "--limit", 40, "--bootstrap", 100, "--format", "json")
    done = command(*words, "--id", name)
    assert done.code == 0, done.err
    rows = json.loads(done.out)["id"]
    assert [row["checkpoint"] for row in rows] == list(default_pair(name))
    assert all(row["accuracy"] > low for row in rows), rows


@pytest.mark.parametrize(
    ("trained_on", "part"), [("folder:cifar10_jpeg", "cifar10-mini"), ("n-mnist", "n-mnist-mini")]
)
def test_they_stand_in_for_the_set_of_the_training_where_it_is_not_there(
    trained_on, part, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    options = DataOptions(root=tmp_path)
    with pytest.warns(AhsarWarning, match=f"{trained_on}, .* is not there; {part} stands in"):
        assert inputs._there(trained_on, options) == part
    for place in ("cifar10_jpeg", "NMNIST"):
        (tmp_path / place).mkdir()
    assert inputs._there(trained_on, options) == trained_on


@pytest.mark.parametrize("name", ["digits", "cifar10", "folder:elsewhere", "nothing"])
def test_nothing_stands_in_for_other_sets(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert inputs._there(name, DataOptions(root=tmp_path)) == name


def test_networks_meet_their_set_without_a_name(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = command("raster", "n-mnist-vgg13-ahsar", "--data-root", tmp_path, "--out", "x.png")
    assert done.code == 0, done.err
    assert "n-mnist-mini stands in" in done.err


@pytest.mark.parametrize("change", ["cut", "text", "gone"])
def test_a_damaged_installation_is_one_sentence(change, tmp_path, monkeypatch):
    copy = Path(shutil.copy(ARCHIVES["n-mnist-mini"], tmp_path))
    content = {"cut": copy.read_bytes()[:9000], "text": b"no archive"}.get(change)
    copy.unlink()
    if content is not None:
        copy.write_bytes(content)
    monkeypatch.setattr(
        "ahsar_eval.data.sets.shipped",
        lambda kind, suffix: {file.stem: file for file in tmp_path.glob(f"*{suffix}")},
    )
    mini._files.cache_clear()
    with pytest.raises(DataError, match=r"install (it|ahsar-eval) again"):
        open_set("n-mnist-mini")


def test_shifts_and_frames_are_those_of_their_kind():
    fog = open_split("cifar10-mini:fog:3", (3, 32, 32))
    assert (fog.name, fog.labels_preserved, len(fog)) == ("cifar10-mini:fog:3", True, 1000)
    assert fog.source.label_space == "cifar10"
    view = View((2, 34, 34), 4)
    dropped, kept = (open_split(f"n-mnist-mini{shift}", view) for shift in (":event_drop:3", ""))
    members = np.arange(20)
    ratio = dropped.tensors(members).sum() / kept.tensors(members).sum()
    assert 0.48 < float(ratio) < 0.52  # severity 3 loses each event with probability 0.5
