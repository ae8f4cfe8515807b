"""The paper's tables as data: complete, and the numbers that it prints."""

from itertools import product
from pathlib import Path

import pytest

from ahsar_eval.study.comparisons import PAPER, paper_table


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
    *named, modality, timesteps = setting
    assert paper_table(PAPER[table])[(*named, modality, timesteps)] == value


@pytest.mark.parametrize("table", PAPER)
def test_every_cell_is_there_once(table: str) -> None:
    of_all = table in ("accuracy", "shifted_accuracy")
    methods = ["ahsar", "ahsar-no-rt", "ahsar-no-dh"] if of_all else ["ahsar"]
    grid = set(
        product(
            ("bptt", "rate"), "sm", ("resnet18", "vgg13"), methods, ("event", "rgb"), (6, 8, 10)
        )
    )
    assert set(paper_table(PAPER[table])) == grid


def test_shifts_stand_beside_the_papers_table_of_the_same_metric() -> None:
    assert PAPER["shifted_auroc"] == PAPER["auroc"] == "table4_auroc"
    assert PAPER["shifted_fpr95"] == PAPER["fpr95"] == "table4_fpr95"


def test_the_copies_are_those_beside_the_paper(shared_data: Path, repository: Path) -> None:
    names = {"table1_accuracy_id": "table1_acc_id", "table2_accuracy_ood": "table2_acc_ood"}
    for table in set(PAPER.values()):
        source = shared_data.parent / "reference" / f"paper_{names.get(table, table)}.csv"
        copy = repository / "ahsar_eval" / "study" / "paper" / f"{table}.csv"
        assert copy.read_text() == source.read_text()
