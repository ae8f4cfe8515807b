"""The paper's Tables 1, 2 and 4 as data (the CSV files beside this one): differences from the
baseline in percentage points.
"""

import csv
from functools import lru_cache
from importlib import resources

from ahsar_eval.errors import DataError

TABLES = {
    "accuracy": "table1_accuracy_id.csv",
    "shifted_accuracy": "table2_accuracy_ood.csv",
    "auroc": "table4_auroc.csv",
    "fpr95": "table4_fpr95.csv",
}
PARADIGMS = {"bptt": "BPTT", "rate": "Rate [36]"}
BACKBONES = {"resnet18": "ResNet-18", "vgg13": "VGGNet-13"}  # in the paper's order
METHODS = {"ahsar": "AHSAR", "ahsar-no-rt": "AHSAR(no RT)", "ahsar-no-dh": "AHSAR(no DH)"}

Key = tuple[str, str, str, str, str, int]


def paper_value(
    table: str,
    paradigm: str,
    step_mode: str,
    backbone: str,
    method: str,
    modality: str,
    timesteps: int,
) -> float | None:
    """What the paper prints for a setting, in percentage points, by this package's names; None
    where its table has no such cell.

    `table` is one of `TABLES`: Table 1 (accuracy), Table 2 (shifted_accuracy), Table 4 (auroc,
    fpr95). Raises `DataError` for another.
    """
    return paper_table(table).get((paradigm, step_mode, backbone, method, modality, timesteps))


@lru_cache(maxsize=len(TABLES))
def paper_table(table: str) -> dict[Key, float]:
    """A table of the paper by (paradigm, step mode, backbone, method, modality, T). Raises
    `DataError` for one that is not in `TABLES`.
    """
    if table not in TABLES:
        raise DataError(f"the paper has no table {table!r} here; known are {', '.join(TABLES)}")
    backbones, methods = (
        {shown: name for name, shown in names.items()} for names in (BACKBONES, METHODS)
    )
    text = (
        resources.files("ahsar_eval.study")
        .joinpath("paper", TABLES[table])
        .read_text(encoding="utf-8")
    )
    return {
        (
            row["paradigm"],
            row["step_mode"],
            backbones[row["backbone"]],
            methods[row["method"]],
            row["modality"],
            int(row["timesteps"]),
        ): float(row["delta_percent"])
        for row in csv.DictReader(text.splitlines())
    }
