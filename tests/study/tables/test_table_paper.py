"""The paper's tables as data: complete, and the numbers that it prints."""

from itertools import product
from pathlib import Path

import pytest

from ahsar_eval.errors import DataError
from ahsar_eval.study.paper import METHODS, TABLES, paper_table, paper_value


@pytest.mark.parametrize(
    ("table", "setting", "value"),
    [  # by eye from the paper
        ("accuracy", ("bptt", "s", "resnet18", "ahsar", "event", 6), 0.64),
        ("accuracy", ("bptt", "m", "vgg13", "ahsar", "rgb", 10), 1.33),
        ("accuracy", ("rate", "s", "resnet18", "ahsar-no-rt", "rgb", 8), 1.62),
        ("shifted_accuracy", ("bptt", "s", "vgg13", "ahsar-no-dh", "event", 8), 0.23),
        ("auroc", ("rate", "m", "vgg13", "ahsar", "rgb", 10), 15.0),
        ("fpr95", ("bptt", "s", "resnet18", "ahsar", "rgb", 6), -15.0),
    ],
)
def test_numbers_of_the_paper(
    table: str, setting: tuple[str, str, str, str, str, int], value: float
) -> None:
    assert paper_value(table, *setting) == value


@pytest.mark.parametrize("table", TABLES)
def test_every_cell_is_there_once(table: str) -> None:
    methods = METHODS if table in ("accuracy", "shifted_accuracy") else ["ahsar"]
    grid = set(
        product(
            ("bptt", "rate"), "sm", ("resnet18", "vgg13"), methods, ("event", "rgb"), (6, 8, 10)
        )
    )
    assert set(paper_table(table)) == grid


def test_what_the_paper_lacks_is_none_and_another_table_refused() -> None:
    assert paper_value("auroc", "bptt", "s", "vgg13", "ahsar-no-rt", "rgb", 6) is None
    assert paper_value("accuracy", "bptt", "s", "vgg13", "ahsar", "rgb", 4) is None
    with pytest.raises(DataError, match="no table 'nll' here; known are accuracy"):
        paper_table("nll")


def test_the_copies_are_those_beside_the_paper(shared_data: Path, repository: Path) -> None:
    names = {
        "accuracy": "table1_acc_id",
        "shifted_accuracy": "table2_acc_ood",
        "auroc": "table4_auroc",
        "fpr95": "table4_fpr95",
    }
    for table, file in TABLES.items():
        source = shared_data.parent / "reference" / f"paper_{names[table]}.csv"
        assert (
            repository / "ahsar_eval" / "study" / "paper" / file
        ).read_text() == source.read_text()
