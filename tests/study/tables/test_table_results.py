"""Results of cells are read whole or refused with a sentence that names the file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ahsar_eval.errors import DataError
from ahsar_eval.study.folder import load_cells, read_result

Content = Callable[..., dict[str, Any]]


def write(folder: Path, content: dict[str, Any], name: str = "result.json") -> Path:
    file = folder / "cells" / content["key"] / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
    return file


def failure(content: dict[str, Any], error: str = "the loss is nan") -> dict[str, Any]:
    return {
        **{name: content[name] for name in ("format", "version", "key", "request", "threads")},
        "error": error,
        "kind": "X",
    }


def test_a_folder_gives_what_is_done_and_what_failed(tmp_path: Path, content: Content) -> None:
    write(tmp_path, content(key="b"))
    write(tmp_path, content("ahsar", key="a"))
    write(tmp_path, failure(content(key="c")), "failure.json")
    both = content("fixed:0.8", key="d")  # failed once, done later
    write(tmp_path, failure(both), "failure.json")
    write(tmp_path, both)
    (tmp_path / "cells" / "e").mkdir()  # running
    found = load_cells(tmp_path)
    assert [(one.key, one.method) for one in found.done] == [
        ("a", "ahsar"),
        ("b", "baseline"),
        ("d", "fixed:0.8"),
    ]
    assert found.failed == [failure(content(key="c"))]
    assert found.missing == ()


def test_every_field_is_as_it_stands_in_the_file(content: Content) -> None:
    made = content("ahsar", 3)
    found = read_result(json.loads(json.dumps(made)), "x")
    for name in (
        "key",
        "request",
        "threads",
        "modality",
        "history",
        "best_epoch",
        "id",
        "ood",
        "controller",
        "provenance",
    ):
        assert getattr(found, name) == made[name]
    assert (found.method, found.seed) == ("ahsar", 3)
    assert read_result(content("baseline"), "x").controller is None


def changed(content: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    made = json.loads(json.dumps(content))
    place = made
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return made


# What stands where in the file, what cannot be there, and what is said of it.
@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("format",), "other", "has 'other' for format: expected ahsar-eval study cell"),
        (("version",), 2, "has 2 for version: expected 1"),
        (("request",), None, "has None for request"),
        (("study",), 3, "has 3 for study: expected a text"),
        (("n_train",), "100", "has '100' for n_train: expected a whole number"),
        (("seconds",), [1.0], "has [1.0] for seconds: expected names with values"),
        (("request", "seed"), "0", "has '0' for request.seed: expected a whole number"),
        (("request", "seed"), True, "has True for request.seed"),
        (
            ("request", "method"),
            "fixed:abc",
            "has an impossible request: method 'fixed:abc' has no usable factor",
        ),
        (("id", "energy_nj"), "much", "has 'much' for id.energy_nj: expected a finite number"),
        (("id", "rates"), [0.1], "has [0.1] for id.rates: expected names with values"),
        (("id", "rates"), {"a": "0.1"}, "has '0.1' for id.rates.a: expected a finite number"),
        (
            ("history", 1, "log_rate_spread"),
            "wide",
            "has 'wide' for history[1].log_rate_spread: expected a finite number",
        ),
        (("request", "method"), 3, "has 3 for request.method: expected a text"),
        (("modality",), "sound", "has 'sound' for modality: expected rgb or event"),
        (("history",), [], "has best_epoch 3 of 0 epochs"),
        (("history",), {}, "has {} for history: expected a list"),
        (("history", 1), 3, "has 3 for history[1]: expected names with values"),
        (
            ("history", 1, "steps"),
            10,
            "has [10, 10, 30] steps at the ends of its epochs: expected them to grow",
        ),
        (("history", 0, "steps"), 0, "has [0, 20, 30] steps at the ends of its epochs"),
        (
            ("history", 2, "train_loss"),
            float("nan"),
            "has nan for history[2].train_loss: expected a finite number",
        ),
        (
            ("history", 0, "validation_accuracy"),
            90.0,
            "has 90.0 for history[0].validation_accuracy: expected a fraction from 0 to 1",
        ),
        (("best_epoch",), 4, "has best_epoch 4 of 3 epochs"),
        (("id", "accuracy"), 1.5, "has 1.5 for id.accuracy: expected a fraction from 0 to 1"),
        (("id", "nll"), None, "has None for id.nll"),
        (("ood",), None, "has None for ood: expected a list"),
        (
            ("ood", 0, "kind"),
            "far",
            "has 'far' for ood[0].kind: expected shift or other",
        ),
        (("ood", 1, "auroc"), -0.1, "has -0.1 for ood[1].auroc: expected a fraction from 0 to 1"),
        (("controller", "gain"), "1", "has '1' for controller.gain"),
        (("controller", "scale"), 1, "has 1 for controller.scale: expected names with values"),
        (("controller", "scale", "a"), None, "has None for controller.scale.a"),
    ],
)
def test_what_is_impossible_is_refused_by_name(
    tmp_path: Path, content: Content, path: tuple[Any, ...], value: Any, message: str
) -> None:
    good = content("ahsar", key="k")
    write(tmp_path, good)
    load_cells(tmp_path)
    file = write(tmp_path, changed(good, path, value) | ({"key": "k"} if path != ("key",) else {}))
    with pytest.raises(DataError) as refused:
        load_cells(tmp_path)
    assert message in str(refused.value)
    assert str(file) in str(refused.value)
    assert str(refused.value).count(";") == 1


def test_numbers_that_may_be_missing(content: Content) -> None:
    gone = changed(changed(content(), ("ood", 0, "auroc"), None), ("ood", 0, "fpr95"), None)
    assert read_result(gone, "x").ood[0]["auroc"] is None


def test_files_that_are_none_and_folders_of_others(tmp_path: Path, content: Content) -> None:
    with pytest.raises(DataError, match="holds no study: there is no folder 'cells'"):
        load_cells(tmp_path)
    file = write(tmp_path, content(key="k"))
    file.write_text("{")
    with pytest.raises(DataError, match="cannot be read as JSON"):
        load_cells(tmp_path)
    file.write_text(json.dumps(content(key="other")))
    with pytest.raises(DataError, match="is of cell other, not of its folder"):
        load_cells(tmp_path)


def test_cells_of_the_study_without_a_result_are_missing(tmp_path: Path, content: Content) -> None:
    from ahsar_eval.study.grid import study_of

    text = (
        'name = "x"\n[training]\nwidth = 0.0625\nepochs = 3\n[grid]\nmethod = ["baseline", '
        '"ahsar"]\nseed = [0, 1]\n'
    )
    cells = study_of(text, "x.toml").cells()
    (tmp_path / "study.toml").write_text(text)
    (tmp_path / "cells").mkdir()
    assert load_cells(tmp_path).missing == list(map(str, cells))
    done = content(key="k") | {"request": {**cells[0].request.to_dict(), "device": "cuda"}}
    write(tmp_path, done)
    found = load_cells(tmp_path)
    assert found.missing == list(map(str, cells[1:]))
    write(
        tmp_path,
        failure(done | {"key": "f", "request": cells[2].request.to_dict()}),
        "failure.json",
    )
    assert load_cells(tmp_path).missing == [str(cells[1]), str(cells[3])]
    older = failure(
        done | {"key": "o", "request": {**cells[2].request.to_dict(), "epochs": 99}},
        "it was otherwise then",
    )
    write(tmp_path, older, "failure.json")
    assert [one["key"] for one in load_cells(tmp_path).failed] == ["f"], (
        "what the study no longer asks for is no failure of it"
    )
