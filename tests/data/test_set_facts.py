"""What is known of a set without opening it: it is forgotten after any change."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ahsar_eval.data import DataOptions, facts, open_set
from ahsar_eval.data.facts import Facts, facts_of
from ahsar_eval.data.sets import EMBEDDED, embedded_file
from ahsar_eval.errors import DataError

NOTHING = DataOptions(root=Path("nowhere"))
# What the embedded sets are, on every machine.
IDENTITIES = """
digits        train      1167 ead1fd5cfe7b186c9082d95588f152d61eec6c3df24fea562e5244b2758873ee
digits        validation  180 3c28bc0afd5b80ece231906b564e43438ca779358d35826224c792f69fc54bdc
digits        test        450 7bbcf39ef2ddb54fbe8abb75891f748078fb4e175f89c2f7cfa3f6c6e46aa790
digits        all        1797 e5175fc493c0bd42ec9091fe69959186bb03f8e5f6be8a49ebcee6ef8e9faa5c
digits-dvs    train      1167 9c9d2c0f1c8619394c96e1a89d7f00296decd6645886d95c5411690e8ef1d1bc
digits-dvs    validation  180 c8be9493ebf013ff0b258c197f4bd3e14aecba0cb04ea0fb6a9580fe3e161124
digits-dvs    test        450 5939a93fc66bf14bd28a07314fbb1b339d2ce402910e9b29fac0444863af764d
digits-dvs    all        1797 dc39393c0d83bc9ddfbc8c212a5c73789bb25b46fbd5d39b4bceca5338d12924
photo-patches all         520 92b082950b91d5739e8aa06a1351f3dd48374b4e09e69e3699bf88732bf3845b
cifar10-mini  test       1000 9ee6248397d6743c041dd56d7142386e6d1e68e2e0a339ddbbcf20dcf7cd8cfc
n-mnist-mini  test        100 d5a547beedacab40f17ae4d584668712279c7ac6ac809478aa7c70d854044f38
"""


@pytest.mark.parametrize("row", IDENTITIES.strip().splitlines())
def test_the_embedded_sets_are_the_same_everywhere(row):
    name, role, samples, identity = row.split()
    found = open_set(name, role)
    assert (found.role, len(found), found.identity) == (role, int(samples), identity)


def test_a_split_that_an_embedded_set_lacks_is_refused():
    with pytest.raises(
        DataError, match="digits has no split 'dev'; known are train, validation, test and all"
    ):
        facts_of("digits", "dev", NOTHING)


def picture(path: Path, shade: int = 9) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((5, 4, 3), shade, dtype=np.uint8)).save(path)


@pytest.fixture
def openings(monkeypatch, tmp_path):
    """Sets that were opened, in a cache of the test's own; a file counts as settled after 20 ms,
    which `later_on` waits.
    """
    monkeypatch.setenv("AHSAR_EVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(facts, "_RACY_NS", 20_000_000)
    opened: list[str] = []

    def counted(name, role, options):
        opened.append(name)
        return open_set(name, role, options)

    monkeypatch.setattr(facts, "open_set", counted)
    return opened


def later_on() -> None:
    time.sleep(0.04)


def fresh(root: Path = Path("nowhere"), **options: int) -> DataOptions:
    return DataOptions(root=root, **options)  # type: ignore[arg-type]


@pytest.fixture
def pictures(tmp_path):
    for name in ("ant/1.png", "ant/2.png", "cat/1.png"):
        picture(tmp_path / "set" / name)
    later_on()
    return tmp_path / "set"


@pytest.mark.parametrize("name", EMBEDDED)
def test_an_embedded_set_is_opened_once_and_again_for_other_files(
    name, openings, tmp_path, monkeypatch
):
    role = EMBEDDED[name].roles[-1]
    found = [facts_of(name, role, fresh()) for _ in range(2)]
    assert openings == [name]
    assert found[0] == found[1] == Facts.of(open_set(name, role))

    def copied(wanted: str) -> Path:
        return Path(shutil.copy(embedded_file(wanted), tmp_path))

    monkeypatch.setattr(facts, "embedded_file", copied)
    assert facts_of(name, role, fresh()) == found[0]
    assert openings == [name, name]


def test_a_set_on_disk_is_opened_once(openings, pictures):
    found = [facts_of(f"folder:{pictures}", "test", fresh()) for _ in range(3)]
    assert len(openings) == 1
    assert found[0] == found[1] == found[2] == Facts.of(open_set(f"folder:{pictures}"))


def rewritten_with_its_old_times(root: Path) -> None:
    file = root / "ant" / "1.png"
    before, content = file.stat(), file.read_bytes()
    picture(file, 8)
    assert file.stat().st_size == before.st_size
    assert file.read_bytes() != content
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES = {
    "another pixel": rewritten_with_its_old_times,
    "a file more": lambda root: picture(root / "cat" / "2.png"),
    "a file less": lambda root: (root / "ant" / "2.png").unlink(),
    "another name": lambda root: (root / "ant" / "2.png").rename(root / "ant" / "3.png"),
    "another class": lambda root: (root / "ant").rename(root / "bee"),
    "a class more": lambda root: picture(root / "dog" / "1.png"),
    "divided": lambda root: [
        shutil.copytree(root / "ant", root / name / "ant") for name in ("train", "test")
    ],
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_of_a_folder_is_seen(change, openings, pictures):
    before = facts_of(f"folder:{pictures}", "test", fresh())
    CHANGES[change](pictures)
    later_on()
    after = [facts_of(f"folder:{pictures}", "test", fresh()) for _ in range(2)]
    assert len(openings) == 2
    assert after[0] == after[1] == Facts.of(open_set(f"folder:{pictures}"))
    assert after[0].identity != before.identity


def test_role_options_code_and_packages_count(openings, pictures, monkeypatch, tmp_path):
    for part in ("train", "test"):
        shutil.copytree(pictures / "ant", pictures / part / "ant")
    later_on()
    text = f"folder:{pictures}"
    train, test = facts_of(text, "train", fresh()), facts_of(text, "test", fresh())
    assert (train.role, test.role, len(openings)) == ("train", "test", 2)
    facts_of(text, "test", fresh(split_seed=1))
    assert len(openings) == 3
    monkeypatch.setattr(facts, "code_digest", lambda: "other code")
    facts_of(text, "test", fresh())
    assert len(openings) == 4
    (tmp_path / "site" / "reader-2.0.dist-info").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path / "site")
    facts_of(text, "test", fresh())
    assert len(openings) == 5
    facts_of(text, "test", fresh())
    assert len(openings) == 5


def test_where_a_path_leads_counts(openings, pictures, tmp_path, monkeypatch):
    shutil.copytree(pictures, tmp_path / "there" / "set")
    (tmp_path / "there" / "set" / "cat" / "1.png").unlink()
    later_on()
    found = []
    for place in (tmp_path, tmp_path / "there"):
        monkeypatch.chdir(place)
        found += [facts_of("folder:set", "test", fresh()) for _ in range(2)]
    assert [one.samples for one in found] == [3, 3, 2, 2]
    assert len(openings) == 2


def test_a_flat_folder_is_named_by_where_it_lies_now(openings, tmp_path):
    """Files, their times and the path that was typed are the same after a folder above was renamed
    and its link mended.
    """
    picture(tmp_path / "one" / "set" / "1.png")
    text = f"folder:{tmp_path / 'link' / 'set'}"
    for place in ("one", "two"):
        if place == "two":
            (tmp_path / "one").rename(tmp_path / "two")
            (tmp_path / "link").unlink()
        (tmp_path / "link").symlink_to(tmp_path / place)
        later_on()
        assert (
            facts_of(text, "test", fresh()).label_space
            == f"folder:{(tmp_path / place / 'set').resolve()}"
        )


def test_of_what_has_just_changed_nothing_is_kept(openings, pictures, monkeypatch):
    monkeypatch.setattr(facts, "_RACY_NS", 2_000_000_000)
    for _ in range(2):
        facts_of(f"folder:{pictures}", "test", fresh())
    assert len(openings) == 2


def test_of_what_changes_while_it_is_opened_nothing_is_kept(
    openings, pictures, tmp_path, monkeypatch
):
    shutil.copytree(pictures, tmp_path / "other" / "set")
    (tmp_path / "other" / "set" / "cat" / "1.png").unlink()
    (tmp_path / "link").symlink_to(tmp_path)
    later_on()

    def led_elsewhere(to: str) -> None:
        (tmp_path / "link").unlink()
        (tmp_path / "link").symlink_to(tmp_path / to)

    def slow(name, role, options):
        openings.append(name)
        if len(openings) == 1:
            led_elsewhere("other")
        return open_set(name, role, options)

    monkeypatch.setattr(facts, "open_set", slow)
    text = f"folder:{tmp_path / 'link' / 'set'}"
    assert facts_of(text, "test", fresh()).samples == 2
    led_elsewhere(".")
    assert facts_of(text, "test", fresh()).samples == 3
    assert len(openings) == 2


def test_links_to_files_are_followed_and_links_to_folders_never_remembered(
    openings, pictures, tmp_path
):
    picture(tmp_path / "elsewhere" / "1.png")
    (pictures / "cat" / "link.png").symlink_to(tmp_path / "elsewhere" / "1.png")
    later_on()
    text = f"folder:{pictures}"
    for _ in range(2):
        before = facts_of(text, "test", fresh())
    assert len(openings) == 1
    picture(tmp_path / "elsewhere" / "1.png", 3)
    later_on()
    assert facts_of(text, "test", fresh()).identity != before.identity
    (pictures / "dog").symlink_to(tmp_path / "elsewhere")
    later_on()
    for _ in range(2):
        assert facts_of(text, "test", fresh()).samples == 5
    assert len(openings) == 4


def test_a_damaged_memory_is_none(openings, pictures, tmp_path):
    text = f"folder:{pictures}"
    expected = facts_of(text, "test", fresh())
    (kept,) = (tmp_path / "cache" / "set-facts").iterdir()
    whole = kept.read_text()
    for damaged in ("", "\n\n", whole[:-9], whole.replace('"samples": 3', '"samples": 4')):
        kept.write_text(damaged)
        assert facts_of(text, "test", fresh()) == expected
        assert kept.read_text() == whole
    kept.write_bytes(b"\xff\xfe")
    assert facts_of(text, "test", fresh()) == expected


def test_a_cache_that_cannot_be_written_is_no_error(openings, pictures, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("AHSAR_EVAL_CACHE", str(tmp_path / "file"))
    found = [facts_of(f"folder:{pictures}", "test", fresh()) for _ in range(2)]
    assert found[0] == found[1]
    assert len(openings) == 2


def test_archives_and_event_folders_are_remembered_too(openings, tmp_path):
    np.savez(tmp_path / "few.npz", x=np.zeros((3, 4, 4)), y=np.arange(3))
    place = tmp_path / "events" / "a"
    place.mkdir(parents=True)
    (tmp_path / "events" / "sensor.txt").write_text("30x30")
    np.savez(place / "1.npz", t=np.arange(9), x=np.arange(9), y=np.arange(9), p=np.arange(9) % 2)
    later_on()
    texts = [f"npz:{tmp_path / 'few.npz'}", f"events:{tmp_path / 'events'}"]
    for _ in range(2):
        found = [facts_of(text, "test", fresh()) for text in texts]
    assert len(openings) == 2
    assert found == [Facts.of(open_set(text)) for text in texts]
    np.savez(tmp_path / "few.npz", x=np.ones((3, 4, 4)), y=np.arange(3))
    (tmp_path / "events" / "sensor.txt").write_text("40x30")
    later_on()
    changed = [facts_of(text, "test", fresh()) for text in texts]
    assert changed == [Facts.of(open_set(text)) for text in texts]
    assert all(new.identity != old.identity for new, old in zip(changed, found, strict=True))


def test_an_event_set_is_found_again_under_any_of_its_names(openings, tmp_path):
    for number in range(20):
        file = tmp_path / "sets" / "Cifar10dvs" / "cat" / f"{number}.npz"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, t=np.arange(9), x=np.arange(9), y=np.full(9, number), p=np.arange(9) % 2)
    later_on()
    options = [fresh(tmp_path / "sets", split_seed=seed) for seed in (0, 1)]
    found = [[facts_of("cifar10-dvs-random", "train", one) for one in options] for _ in range(2)]
    assert len(openings) == 2
    assert found[0] == found[1]
    assert found[0][0].identity != found[0][1].identity
    (tmp_path / "sets" / "Cifar10dvs").rename(tmp_path / "sets" / "CIFAR10DVS")
    facts_of("cifar10-dvs-random", "train", options[0])
    assert len(openings) == 3


def test_errors_are_those_of_opening(openings, tmp_path):
    for text, message in [
        (f"folder:{tmp_path}", "holds no image file"),
        ("npz:", "names no file"),
        ("npz:~nobody-of-this-name/x", "home directory"),
        ("mnist", "mnist is not complete"),
    ]:
        with pytest.raises((DataError, RuntimeError), match=message):
            facts_of(text, "test", fresh(tmp_path))
