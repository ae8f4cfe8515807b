"""`ahsar-eval data`, and the commands on sets below a data root: what is listed, read, drawn, and
refused.
"""

import json
import re
import struct

import numpy as np
import pytest
from PIL import Image

from ahsar_eval.data import EVENT_SHIFTS, SETS, SHIFTS


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A data root with a small MNIST (six test and four training images) and a small N-MNIST (two
    recordings in each split).
    """
    folder = tmp_path / "sets"
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, count in (("train", 4), ("t10k", 6)):
        pixels = np.random.default_rng(count).integers(0, 256, (count, 28, 28), dtype=np.uint8)
        (raw / f"{name}-images-idx3-ubyte").write_bytes(
            struct.pack(">IIII", 2051, count, 28, 28) + pixels.tobytes()
        )
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(
            struct.pack(">II", 2049, count) + bytes(n % 10 for n in range(count))
        )
    for part in ("Train", "Test"):
        for label in ("3", "7"):
            place = folder / "NMNIST" / part / label
            place.mkdir(parents=True)
            events = [(n % 34, (n * 7) % 34, n % 2, 1000 * n) for n in range(60)]
            (place / "00001.bin").write_bytes(
                b"".join(
                    bytes([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255]) for x, y, p, t in events
                )
            )
    return folder


EVENTS = "digits-dvs-vgg13-ahsar"


def test_every_set_and_shift_is_listed_with_its_state(command, root):
    done = command("data", "list", "--data-root", root)
    assert (done.code, done.err) == (0, "")
    state = {
        line.split()[0]: line.split()[2]
        for line in done.out.splitlines()
        if line.split()[:1] and line.split()[0] in SETS
    }
    assert set(state) == set(SETS)
    assert state["digits"] == state["digits-dvs"] == "embedded"
    assert state["mnist"] == state["n-mnist"] == "there"
    assert state["cifar10"] == "download"
    assert state["cifar10-c"] == state["cifar10-dvs"] == "–"
    listed = {line.split()[0] for line in done.out.splitlines() if line.split()}
    assert set(SHIFTS) | set(EVENT_SHIFTS) <= listed
    assert str(root) in done.out


def test_the_data_root_can_come_from_the_environment(command, root, monkeypatch):
    monkeypatch.setenv("AHSAR_EVAL_DATA", str(root))
    done = command("data", "info", "mnist")
    assert (done.code, done.err) == (0, "")
    for part in ("1x28x28", "digits", "MNIST/raw/", "0, 1, 2"):
        assert part in done.out
    assert re.search(r"samples +6\n", done.out)


def test_a_missing_set_gives_the_command_that_gets_it(command, root):
    done = command("data", "info", "cifar10", "--data-root", root)
    assert done.code == 2
    assert "cifar10 is not complete in" in done.err
    assert f"ahsar-eval data prepare cifar10 --download --data-root {root}" in done.err
    done = command("ood", "--id", "digits", "--ood", "cifar10-dvs", "--data-root", root)
    assert done.code == 2
    assert len(done.err.strip().splitlines()) == 1


def test_prepare_reads_both_splits_and_finds_a_damaged_file(command, root):
    done = command(
        "data",
        "prepare",
        "n-mnist",
        "--data-root",
        root,
        "--timesteps",
        3,
        "--frames",
        "10ms",
        "--size",
        "17,17",
    )
    assert (done.code, done.err) == (0, "")
    assert re.search(r"train +2 ", done.out)
    assert re.search(r"test +2 ", done.out)
    done = command("data", "prepare", "mnist", "--data-root", root)
    assert re.search(r"train +4 .*\n.*test +6 ", done.out)
    broken = root / "NMNIST" / "Train" / "7" / "00001.bin"
    broken.write_bytes(broken.read_bytes()[:-2])
    done = command("data", "prepare", "n-mnist", "--data-root", root)
    assert done.code == 2
    assert "Train/7/00001.bin" in done.err
    assert len(done.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "spec",
    [
        "digits",
        "photo-patches:fog",
        "digits:all",
        "digits-dvs",
        "digits-dvs:event_drop",
        "digits-dvs:all",
    ],
)
def test_a_sheet_of_every_kind_is_drawn(spec, command, tmp_path):
    done = command("data", "show", spec, "--samples", 3, "--out", tmp_path / "sheet.png")
    assert (done.code, done.err.strip()) == (0, f"wrote {tmp_path / 'sheet.png'}")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert min(sheet.size) > 200
        assert sheet.size[1] <= 9.0 * 300, "no taller than a page"
        rows = {
            "digits": 1,
            "digits-dvs": 1,
            "digits:all": len(SHIFTS) - 2,
            "digits-dvs:all": len(EVENT_SHIFTS),
        }.get(spec, 6)
        blocks = 2 if rows > 8 else 1
        lines, top = -(-rows // blocks), 0.45
        side = (sheet.size[1] / 300 - top) / lines
        assert side == pytest.approx(0.9, abs=0.01) if blocks == 1 else 0.35 < side < 0.6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "digits", "--out", "sheet.txt"), "expected a name that ends in .png, .pdf, .svg"),
        (("show", "digits", "--samples", "0"), "'--samples': 0 is not in the range 1<=x<=64"),
        (
            ("show", "digits", "--size", "3"),
            "--size is '3'; expected height and width in pixels up to 1024, such as 32,32",
        ),
        (("show", "digits", "--size", "99999,3"), "pixels up to 1024"),
        (
            ("show", "digits:spatter", "--size", "1,1"),
            "images of 1x1 are too small for spatter; expected sides of at least 2",
        ),
        (
            ("show", "folder:x:event_drop"),
            "event_drop in 'folder:x:event_drop' is a shift of event recordings",
        ),
        (("show", "events:x:fog:3"), "fog in 'events:x:fog:3' is a shift of images"),
        (
            ("info", "digits:fog:3"),
            "'digits:fog:3' names a shift, and a set is described as it is; give digits",
        ),
        (("info", "nmnist"), "(did you mean n-mnist?)"),
        (("info", "near"), "'near' is no set: near and far stand for OpenOOD's groups"),
        (("prepare", "digits", "--frames", "banana"), "framing 'banana' is unknown"),
        (
            ("show", "digits:fog:3", "--frost", "nowhere"),
            "'nowhere' is no folder of frost photographs",
        ),
        (
            ("show", "digits:all", "--sample", "450"),
            "--sample is 450; expected 0 to 449, with digits:all",
        ),
        (
            ("show", "digits:fog", "--sample", "3"),
            "--sample is 3; expected 0 to 449, with digits:all",
        ),
        (("show", "digits:mist"), "unknown shift 'mist'"),
        (
            ("show", "digits-dvs:fog"),
            "unknown shift 'fog' in 'digits-dvs:fog'; known are background_activity",
        ),
        (
            ("show", "digits:frost:3", "--frost", "nowhere"),
            "'nowhere' is no folder of frost photographs",
        ),
        (("info", "digits", "--data-root", "nowhere"), "--data-root 'nowhere' is no folder"),
        (("info", "digits", "--split-seed", "-1"), "--split-seed is -1"),
        (
            ("prepare", "digits-dvs", "--timesteps", "0"),
            "'--timesteps': 0 is not in the range x>=1",
        ),
        (
            ("prepare", "digits-dvs", "--timesteps", "2", "--frames", "soon"),
            "framing 'soon' is unknown",
        ),
    ],
)
def test_wrong_input_is_one_sentence(arguments, message, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = command("data", *arguments)
    assert done.code == 2
    assert message in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


# The other commands


def test_an_event_network_is_evaluated_on_events(command, root):
    done = command(
        *(
            "ood",
            EVENTS,
            "--id",
            "digits-dvs",
            "--ood",
            "n-mnist",
            "--ood",
            "digits-dvs:event_drop:5",
        ),
        *("--data-root", root, "--format", "json"),
    )
    assert done.code == 0, done.err
    content = json.loads(done.out)
    assert [row["n_ood"] for row in content["rows"]] == [2, 450]
    facts = content["provenance"]["checkpoints"][0]
    assert facts["id"]["modality"] == "events"
    assert "equal event count" in facts["id"]["adaptation"]
    assert "simulated" in facts["id"]["note"]


def test_images_and_events_do_not_mix(command, tiny_pair):
    done = command("ood", tiny_pair[0], "--id", "digits", "--ood", "digits-dvs")
    assert done.code == 2
    assert (
        "digits-dvs holds event recordings (2 polarities) and the network takes 1 channel"
        in done.err
    )
    done = command("ood", EVENTS, "--id", "digits-dvs", "--ood", "digits")
    assert done.code == 2
    assert "digits has images of 1 channel and the network takes 2" in done.err


def test_groups_need_an_id_set_that_has_them(command):
    done = command("ood", "--id", "digits", "--ood", "near")
    assert done.code == 2
    assert (
        "there is no near group for digits; groups are known for cifar10 and cifar100" in done.err
    )


def test_a_network_of_events_is_trained_and_says_its_framing(command, tmp_path):
    # A few clips are enough to see that frames reach the network.
    file = tmp_path / "events.pt"
    done = command(
        *(
            "train",
            "--data",
            "digits-dvs",
            "--backbone",
            "vgg13",
            "--width",
            "0.0625",
            "--timesteps",
            2,
            "--epochs",
            1,
        ),
        *(
            "--samples",
            64,
            "--batch-size",
            32,
            "--frames",
            "150ms",
            "--input-shape",
            "2,16,16",
            "--method",
            "baseline",
            "--out",
            file,
        ),
    )
    assert done.code == 0, done.err
    shown = json.loads(command("inspect", file, "--format", "json").out)
    assert shown["spec"]["framing"] == "150000us"
    assert (shown["spec"]["mean"], shown["spec"]["std"]) == ([0.0], [1.0])


def test_photographs_of_frost_change_pixels_and_identity(command, tiny_pair, tmp_path):
    folder = tmp_path / "frost"
    folder.mkdir()
    Image.fromarray(np.full((300, 300, 3), 200, dtype=np.uint8)).save(folder / "one.png")
    found = []
    for options in ((), ("--frost", folder)):
        done = command(
            "ood",
            tiny_pair[0],
            "--id",
            "digits",
            "--ood",
            "digits:frost:5",
            "--format",
            "json",
            *options,
        )
        assert done.code == 0, done.err
        found.append(json.loads(done.out)["provenance"]["checkpoints"][0]["ood"][0])
    assert found[0]["identity"] != found[1]["identity"]
    assert "frost from photographs" in found[1]["adaptation"]


def test_notes_say_how_events_were_made_and_framed(command):
    done = command("ood", EVENTS, "--id", "digits-dvs", "--ood", "digits-dvs:time_scale:3")
    assert done.code == 0, done.err
    for part in ("simulated", "6 slices of equal event count", "time_scale:3 changes nothing"):
        assert part in done.out
    assert "cluster bootstrap by image where a set is the ID set's images, shifted" in done.out
    priced = command("energy", EVENTS)
    assert "Frames of events: analog, for frames hold event counts" in priced.out


def test_options_that_do_not_apply_are_refused(command):
    for options, message in [
        (
            ("--frames", "1ms"),
            "--frames is for networks that do not say it, and digits-dvs-vgg13-ahsar takes count",
        ),
        (("--spikes-per-step", "many"), "--spikes-per-step is for NIR files"),
        (("--reset", "zero", "--v-min", "-1"), "--reset and --v-min are for NIR files"),
    ]:
        done = command("energy", EVENTS, "--data", "digits-dvs", *options)
        assert done.code == 2
        assert message in done.err


def test_a_damaged_test_split_is_not_passed_over(command, root):
    images = root / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:2000])
    done = command("data", "prepare", "mnist", "--data-root", root)
    assert done.code == 2
    assert done.out == ""


def test_another_division_of_the_training_set_is_warned_of(command, tmp_path):
    for number in range(40):
        place = tmp_path / "CIFAR10DVS" / ("airplane", "cat")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        t = np.arange(50) * 100
        np.savez(
            place / f"cifar10_{number:03}.npz",
            t=t,
            x=(t // 100 + number) % 128,
            y=t // 50 % 128,
            p=t // 100 % 2,
        )
    train = (
        "--backbone",
        "vgg13",
        "--width",
        "0.0625",
        "--timesteps",
        2,
        "--epochs",
        1,
        "--batch-size",
        16,
        "--input-shape",
        "2,16,16",
    )
    done = command(
        "train",
        "--data",
        "cifar10-dvs-random",
        *train,
        "--data-root",
        tmp_path,
        "--out",
        tmp_path / "c.pt",
    )
    assert done.code == 0, done.err
    ood = ("ood", tmp_path / "c.pt", "--ood", "digits-dvs", "--data-root", tmp_path)
    same = command(*ood, "--id", "cifar10-dvs-random")
    assert same.code == 0, same.err
    assert "divided" not in same.err
    for other in (("--id", "cifar10-dvs"), ("--id", "cifar10-dvs-random", "--split-seed", 1)):
        assert (
            "is divided otherwise: it holds samples of that training" in command(*ood, *other).err
        )
