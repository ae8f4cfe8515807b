"""A study's file and its cells: the grid by hand, what a cell's key depends on and what not, and
every mistake as one sentence.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ahsar_eval import provenance
from ahsar_eval.data import DataOptions
from ahsar_eval.errors import UsageError
from ahsar_eval.files import shipped
from ahsar_eval.homeostasis import HomeostaticParams
from ahsar_eval.study import grid
from ahsar_eval.study.grid import find_study, read_study, study_of
from ahsar_eval.study.run import steps_of
from ahsar_eval.training.request import TrainingRequest

STUDIES = shipped("studies", ".toml")

TWO = """
name = "two"
[training]
width = 0.0625
[grid]
method = ["baseline", "ahsar"]
seed = [0, 1]
"""


def cells(text, **options):
    return study_of(text, "my.toml").cells(**options)


def keys(text, **options):
    return {cell.key for cell in cells(text, **options)}


# The grid by hand


def test_cells_are_the_product_of_the_axes_by_seed_first():
    found = cells(
        'name = "x"\n[grid]\nseed = [3, 1]\nbackbone = ["vgg13", "resnet18"]\nmethod = '
        '["baseline", "fixed:0.8"]'
    )
    assert [(one.request.seed, one.request.backbone, one.request.method) for one in found] == [
        (1, "vgg13", "baseline"),
        (1, "vgg13", "fixed:0.8"),
        (1, "resnet18", "baseline"),
        (1, "resnet18", "fixed:0.8"),
        (3, "vgg13", "baseline"),
        (3, "vgg13", "fixed:0.8"),
        (3, "resnet18", "baseline"),
        (3, "resnet18", "fixed:0.8"),
    ]
    assert len({one.key for one in found}) == 8
    assert all(
        replace(one.request, seed=0, backbone="vgg13", method="ahsar") == TrainingRequest()
        for one in found
    )


def test_a_file_without_a_grid_is_one_cell():
    (only,) = cells('name = "x"')
    assert only.request == TrainingRequest()
    assert (only.threads, only.ood, only.source) == (1, (), None)


def test_data_sets_change_the_training_and_name_what_is_evaluated():
    text = """
    name = "x"
    [training]
    epochs = 3
    batch_size = 64
    [grid]
    data = ["digits", "digits-dvs"]
    [data.digits]
    ood = ["photo-patches", "digits:contrast:3"]
    [data.digits-dvs]
    input_shape = [2, 17, 17]
    batch_size = 32
    ood = ["digits-dvs:event_drop:2"]
    [run]
    threads = 2
    """
    image, event = cells(text)
    assert (image.request.batch_size, image.request.input_shape, image.request.epochs) == (
        64,
        None,
        3,
    )
    assert (event.request.batch_size, event.request.input_shape, event.request.epochs) == (
        32,
        (2, 17, 17),
        3,
    )
    assert (image.ood, event.ood) == (
        ("photo-patches", "digits:contrast:3"),
        ("digits-dvs:event_drop:2",),
    )
    assert (image.threads, event.threads) == (2, 2)


def test_groups_of_sets_are_named_one_by_one():
    (only,) = cells(
        'name = "x"\n[training]\ndata = "cifar10"\n[data.cifar10]\nood = ["near", "cifar10:fog:3"]'
    )
    assert only.ood == ("cifar100", "tiny-imagenet", "cifar10:fog:3")


def test_a_frozen_cell_names_the_cell_of_the_same_seed_and_all_else():
    found = cells(
        'name = "x"\n[grid]\nstep_mode = ["s", "m"]\nmethod = ["frozen:ahsar", "baseline", '
        '"ahsar"]\nseed = [0, 1]'
    )
    by_key = {one.key: one for one in found}
    frozen = [one for one in found if one.request.method == "frozen:ahsar"]
    assert len(frozen) == 4
    for one in frozen:
        assert one.source is not None
        assert by_key[one.source].request == replace(one.request, method="ahsar")


def test_cells_without_a_controller_stand_once():
    text = (
        'name = "x"\n[grid]\nmethod = ["baseline", "ahsar", "fixed:0.8"]\ncontroller = [{}, '
        "{beta "
        "= 0.2}, {beta = 0.4}]"
    )
    found = [(one.request.method, dict(one.request.controller)) for one in cells(text)]
    assert found == [
        ("baseline", {}),
        ("ahsar", {}),
        ("ahsar", {"beta": 0.2}),
        ("ahsar", {"beta": 0.4}),
        ("fixed:0.8", {}),
    ]


def test_what_a_controller_senses_is_nothing_to_methods_without_one():
    text = 'name = "x"\n[grid]\nmethod = ["baseline", "ahsar"]\nsensing = ["spikes", "surrogate"]'
    assert [(one.request.method, one.request.sensing) for one in cells(text)] == [
        ("baseline", "spikes"),
        ("ahsar", "spikes"),
        ("ahsar", "surrogate"),
    ]
    with pytest.raises(
        UsageError, match="method 'frozen:ahsar' could take the scales of several controllers"
    ):
        cells(text.replace('"ahsar"]', '"ahsar", "frozen:ahsar"]'))


def test_a_parameter_that_an_ablation_decides_is_refused():
    with pytest.raises(
        UsageError,
        match=r"method 'ahsar-no-rt' is AHSAR at gamma = 0\.0; leave gamma out, or choose ahsar",
    ):
        cells('name = "x"\n[grid]\nmethod = ["ahsar", "ahsar-no-rt"]\ncontroller = [{gamma = 0.3}]')


def test_a_shared_controller_is_for_methods_that_have_one():
    found = cells(
        'name = "x"\n[training]\ncontroller = {beta = 0.2}\n[grid]\nmethod = ["baseline", "ahsar", '
        '"frozen:ahsar"]'
    )
    assert [dict(one.request.controller) for one in found] == [{}, {"beta": 0.2}, {}]
    assert found[2].source == found[1].key


def test_left_out_cells_match_every_key_of_a_rule():
    text = """
    name = "x"
    [grid]
    method = ["baseline", "ahsar", "fixed:0.8"]
    step_mode = ["s", "m"]
    seed = [0, 1]
    [[leave_out]]
    method = ["fixed:0.8", "ahsar"]
    step_mode = "s"
    [[leave_out]]
    method = "baseline"
    seed = 1
    """
    found = [(one.request.method, one.request.step_mode, one.request.seed) for one in cells(text)]
    assert found == [
        ("baseline", "s", 0),
        ("baseline", "m", 0),
        ("ahsar", "m", 0),
        ("fixed:0.8", "m", 0),
        ("ahsar", "m", 1),
        ("fixed:0.8", "m", 1),
    ]


@pytest.mark.parametrize(("samples", "steps"), [(128, 4), (129, 4), (130, 6), (64, 2), (1, 0)])
def test_steps_of_a_training_by_hand(samples, steps):
    assert steps_of(TrainingRequest(epochs=2, batch_size=64), samples) == steps


# What a key depends on


def test_keys_stay_where_nothing_that_decides_numbers_changed():
    same = [
        TWO.replace('"two"', '"another name"'),
        TWO.replace("seed = [0, 1]", "seed = [1, 0]"),
        TWO.replace(
            'method = ["baseline", "ahsar"]\nseed = [0, 1]',
            'seed = [0, 1]\nmethod = ["ahsar", "baseline"]',
        ),
        TWO + "[run]\nthreads = 1",
        TWO.replace("width = 0.0625", "width = 0.0625\nepochs = 50"),  # the default
        TWO.replace("width = 0.0625\n[grid]", "[grid]\nwidth = [0.0625]"),
        TWO.replace("[grid]", "controller = {beta = 0.1}\n[grid]"),  # the default
    ]
    if HomeostaticParams().beta != 0.1:
        same.pop()
    for text in same:
        assert keys(text) == keys(TWO), text
    assert keys(TWO) < keys(TWO.replace("seed = [0, 1]", "seed = [0, 1, 2]"))
    assert keys(TWO, data=DataOptions(root=Path("elsewhere"), download=True)) == keys(TWO)


def test_the_order_of_evaluated_sets_does_not_count_and_the_sets_do():
    def evaluated(*names):
        return keys(TWO + f"[data.digits]\nood = {json.dumps(names)}")

    assert evaluated("photo-patches", "digits:fog:1") == evaluated("digits:fog:1", "photo-patches")
    assert not evaluated("photo-patches") & keys(TWO)
    assert not evaluated("digits:fog:1") & evaluated("digits:fog:2")


@pytest.mark.parametrize(
    "text",
    [
        TWO.replace("0.0625", "0.125"),
        TWO + "[run]\nthreads = 2",
        TWO.replace("[grid]", "epochs = 2\n[grid]"),
        TWO.replace("[grid]", 'augment = "none"\n[grid]'),
        TWO.replace("[grid]", "samples = 100\n[grid]"),
    ],
)
def test_what_decides_numbers_changes_every_key(text):
    assert not keys(text) & keys(TWO)


def test_device_split_seed_and_versions_change_every_key(monkeypatch):
    before = keys(TWO)
    assert not keys(TWO, device="cuda") & before
    assert not keys(TWO, data=DataOptions(split_seed=1)) & before
    known = provenance.versions()
    for package in ("torch", "spikingjelly", "numpy", "ahsar-eval"):
        monkeypatch.setattr(grid, "versions", lambda package=package: known | {package: "0.0"})
        assert not keys(TWO) & before, package
    monkeypatch.setattr(grid, "versions", lambda: known | {"pillow": "0.0"})
    assert keys(TWO) == before


def test_a_changed_source_changes_the_frozen_cell():
    text = (
        'name = "x"\n[training]\ncontroller = {{beta = {}}}\n[grid]\nmethod = ["baseline", '
        '"ahsar", "frozen:ahsar"]'
    )
    one, other = (cells(text.format(beta)) for beta in (0.2, 0.3))
    assert [a.key == b.key for a, b in zip(one, other, strict=True)] == [True, False, False]


# Mistakes


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name = ", r"my.toml is no valid TOML \(.*\); mend that line"),
        ("", "my.toml: the name is None; expected a text, such as name = 'digits'"),
        (
            'name = "x"\n[gird]',
            r"the file has no 'gird' \(did you mean grid\?\); known are name, training, grid",
        ),
        (
            'name = "x"\n[grid]\nbackbones = ["vgg13"]',
            r"\[grid\] has no 'backbones' \(did you mean backbone\?\); known are data",
        ),
        ('name = "x"\n[training]\nlr = 0.1', r"\[training\] has no 'lr'; known are data, backbone"),
        (
            'name = "x"\n[training]\nepochs = "six"',
            r"\[training\] epochs is 'six'; expected a whole number",
        ),
        (
            'name = "x"\n[grid]\nepochs = [6, 6.5]',
            r"\[grid\] epochs is 6.5; expected a whole number",
        ),
        (
            'name = "x"\n[grid]\nseed = []',
            r"\[grid\] seed is \[\]; expected a list of at least one value",
        ),
        (
            'name = "x"\n[grid]\nseed = 3',
            r"\[grid\] seed is 3; expected a list of .*, such as seed = \[3\], or write it in "
            r"\[training\]",
        ),
        ('name = "x"\n[grid]\nseed = [0, 1, 0]', r"\[grid\] seed names 0 twice; name it once"),
        ('name = "x"\n[grid]\nwidth = [1, 1.0]', r"\[grid\] width names 1.0 twice; name it once"),
        (
            'name = "x"\n[training]\nseed = 1\n[grid]\nseed = [0]',
            r"seed stands in \[training\] and in \[grid\]; leave one of the two out",
        ),
        (
            'name = "x"\n[grid]\ndevice = ["cpu", "cuda"]',
            r"\[grid\] device is no axis: where cells run is said by --device",
        ),
        (
            'name = "x"\n[grid]\nmethod = ["fixed:0.8", "fixed:0.80"]',
            "two cells of the grid are equal .*'fixed:0.8' and 'fixed:0.80' mean",
        ),
        (
            f'name = "x"\n[grid]\ncontroller = [{{}}, {{beta = {HomeostaticParams().beta}}}]',
            r"two cells of the grid are equal \(controller \{\} and",
        ),
        (
            'name = "x"\n[grid]\nmethod = ["frozen:ahsar", "baseline"]',
            "takes the scales of the cell that has method 'ahsar' and all else",
        ),
        (
            'name = "x"\n[grid]\nmethod = ["frozen:baseline", "baseline"]',
            "'frozen:baseline' names no method with a controller",
        ),
        (
            'name = "x"\n[grid]\nmethod = ["frozen:my.pt", "ahsar"]',
            "'frozen:my.pt' names no method with a controller",
        ),
        (
            'name = "x"\n[grid]\nmethod = ["ahsar", "frozen:ahsar"]\ncontroller = [{}, {beta = '
            "0.2}]",
            "could take the scales of several controllers; keep one of them",
        ),
        (
            'name = "x"\n[grid]\nmethod = ["ahsr"]',
            r"\[grid\] unknown method 'ahsr'; known are ahsar",
        ),
        (
            'name = "x"\n[grid]\nbackbone = ["vgg"]',
            r"\[grid\] unknown backbone 'vgg' \(did you mean vgg13\?\); known are vgg13, resnet18",
        ),
        (
            'name = "x"\n[grid]\ndata = ["digit"]',
            r"\[grid\] unknown set 'digit' \(did you mean digits\?\)",
        ),
        (
            'name = "x"\n[grid]\ndata = ["digits:fog:3"]',
            r"\[grid\] data names the shift digits:fog:3; networks are trained on a set",
        ),
        (
            'name = "x"\n[grid]\ndata = ["cifar10.1"]',
            "data names cifar10.1, which has no training split",
        ),
        (
            'name = "x"\n[grid]\ncontroller = [{bta = 0.1}]',
            r"\[grid\] controller: unknown setting 'bta'",
        ),
        ('name = "x"\ngrid = 3', r"grid is 3; expected a table: write \[grid\]"),
        (
            'name = "x"\n[data.mnist]\nepochs = 3',
            r"\[data.mnist\] is of a set that the grid does not train on; expected one of digits",
        ),
        (
            'name = "x"\n[data.digits]\nepoch = 3',
            r"\[data.digits\] has no 'epoch' \(did you mean epochs\?\)",
        ),
        (
            'name = "x"\n[grid]\nepochs = [1, 2]\n[data.digits]\nepochs = 3',
            r"\[data.digits\] sets epochs, which is an axis of \[grid\]",
        ),
        (
            'name = "x"\n[data.digits]\nood = "photo-patches"',
            r"\[data.digits\] ood is 'photo-patches'; expected a list of sets",
        ),
        ('name = "x"\n[data.digits]\nood = ["digits:fgo:3"]', r"\[data.digits\] .*fgo"),
        (
            'name = "x"\n[data.digits]\nood = ["mnist", "mnist"]',
            r"\[data.digits\] ood names mnist twice; name it once",
        ),
        (
            'name = "x"\n[data.digits]\nood = ["digits"]',
            r"\[data.digits\] ood names digits, the set itself",
        ),
        (
            'name = "x"\n[data.digits]\nood = ["n-mnist"]',
            r"\[data.digits\] ood names n-mnist, a set of events, for networks of images",
        ),
        (
            'name = "x"\n[data.digits]\nood = ["near"]',
            r"\[data.digits\] there is no near group for digits",
        ),
        ('name = "x"\n[run]\nworkers = 3', r"\[run\] has no 'workers'; known are threads"),
        ('name = "x"\n[run]\nthreads = 0', r"\[run\] threads is 0; expected a whole number from 1"),
        (
            'name = "x"\n[[leave_out]]\nmethods = "ahsar"',
            r"\[\[leave_out\]\] has no 'methods' \(did you mean method\?\)",
        ),
        (
            'name = "x"\n[leave_out]\nmethod = "ahsar"',
            r"leave_out is .*; expected tables .*begun with \[\[leave_out\]\]",
        ),
        (
            'name = "x"\n[[leave_out]]\nmethod = "baseline"',
            r"\[\[leave_out\]\] method names 'baseline', which no cell has",
        ),
        (
            'name = "x"\n[[leave_out]]\nmethod = "ahsar"',
            r"\[\[leave_out\]\] leaves out every cell of the grid",
        ),
        (
            'name = "x"\n[grid]\nmethod = ["ahsar", "baseline"]\nseed = [0, 1]\n[[leave_out]]\n'
            'method = "ahsar"\nseed = [0]\nwidth = 2.0',
            r"\[\[leave_out\]\] width names 2.0, which no cell has",
        ),
        (
            'name = "x"\n[grid]\nmethod = ["ahsar", "frozen:ahsar"]\nseed = [0, 1]\n[[leave_out]]\n'
            'method = "ahsar"\nseed = 1',
            "'frozen:ahsar' takes the scales of the cell that has method 'ahsar'.*seed 1, and the "
            "grid has none",
        ),
    ],
)
def test_a_mistake_is_one_sentence(text, said):
    with pytest.raises(UsageError, match=said) as raised:
        study_of(text, "my.toml")
    assert str(raised.value).startswith("my.toml")
    assert "\n" not in str(raised.value).strip()


# Shipped studies


def test_shipped_studies_are_found_by_name_and_can_be_read(tmp_path, monkeypatch):
    assert {"digits", "paper", "smoke"} <= set(STUDIES)
    for name in STUDIES:
        assert read_study(name).name == name
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UsageError,
        match=(
            r"no study 'nothing': no such file, and none of the shipped ones "
            rf"\({', '.join(STUDIES)}\)"
        ),
    ):
        find_study("nothing")
    (tmp_path / "digits").write_text('name = "mine"')
    assert read_study("digits").name == "mine", "a file goes before a shipped name"
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    with pytest.raises(
        UsageError, match=r"latin.toml cannot be read as UTF-8 text .*; mend the file"
    ):
        read_study("latin.toml")


def test_the_digits_study_is_the_grid_that_was_asked_for():
    found = read_study("digits").cells()
    assert len(found) == 2 * 2 * 2 * 8 * 5
    assert {one.request.method for one in found} >= {
        "baseline",
        "ahsar",
        "ahsar-no-rt",
        "ahsar-no-dh",
        "ahsar-no-gain",
        "frozen:ahsar",
    }
    assert {one.request.seed for one in found} == {0, 1, 2, 3, 4}
    assert all(steps_of(one.request, 1167) >= 100 for one in found), (
        "no training of fewer than 100 steps"
    )


def test_the_paper_study_is_the_papers_grid():
    found = read_study("paper").cells()
    for method in ("baseline", "ahsar", "ahsar-no-rt", "ahsar-no-dh"):
        axes = {
            (
                one.request.data,
                one.request.paradigm,
                one.request.step_mode,
                one.request.backbone,
                one.request.timesteps,
            )
            for one in found
            if one.request.method == method
        }
        assert len(axes) == 2 * 2 * 2 * 2 * 3
    recipe = {
        (
            one.request.epochs,
            one.request.batch_size,
            one.request.learning_rate,
            one.request.weight_decay,
        )
        for one in found
    }
    assert recipe == {(50, 128, 1e-3, 5e-4)}
