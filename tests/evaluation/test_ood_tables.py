"""Tables of OOD rows and of differences: what stands where, what is bold, and what the
notes say."""

from dataclasses import replace

import numpy as np
import pytest
from grids import best_of, body_of, header_of

from ahsar_eval.evaluation.compare import COMPARE
from ahsar_eval.evaluation.ood import record_of
from ahsar_eval.evaluation.ood_tables import OOD
from ahsar_eval.ood import Estimate, Row
from ahsar_eval.results.results import Results, origin_lines

HEADER = [
    "OOD set",
    "n",
    "checkpoint",
    "AUROC",
    "95 % interval",
    "FPR@95TPR",
    "95 % interval",
    "accuracy",
    "95 % interval",
]
FACTS = {
    "command": "ahsar-eval ood --id digits",
    "time": "now",
    "seed": 0,
    "tpr": 0.95,
    "bootstrap_replicates": 1000,
    "threads": 1,
    "versions": {"ahsar-eval": "1", "torch": "2"},
    "checkpoints": [
        {
            "name": "a",
            "sha256": "f00",
            "thresholds": "replay",
            "id": {"name": "digits", "role": "test", "identity": "1d"},
            "ood": [{"name": "x", "role": "all", "identity": "2d"}],
        }
    ],
}
LISTS = {"rows": ("set", "class"), "means": ("mean",), "id": ("id",)}


def results_of(rows, by=()):
    severities = {row.ood: row.severity for row in rows}
    records = {
        name: [record_of(row, severities) for row in rows if row.kind in kinds]
        for name, kinds in LISTS.items()
    }
    return Results(OOD, records, FACTS, by=by)


def ood_tables(rows, *, by=(), detail=False):
    return results_of(rows, by).tables(detail=detail)


def ood_notes(rows):
    return results_of(rows).notes


def compared(found, a=("a",), b=("b",)):
    records = {"differences": found}
    return Results(COMPARE, records, {**FACTS, "a": a, "b": b})


def ood_row(checkpoint="a", ood="b", *, auroc=0.91234, fpr=0.2, accuracy=None, **changes):
    metrics = {
        "auroc": Estimate(auroc, auroc - 0.01, auroc + 0.01, "DeLong"),
        "fpr_at_tpr": Estimate(fpr, 0.1, 0.3, "bootstrap"),
        "mean_rate": Estimate(0.2),
        "mean_score": Estimate(1.5),
    }
    if accuracy is not None:
        metrics["accuracy"] = Estimate(accuracy, accuracy - 0.05, accuracy + 0.02, "Wilson")
    row = Row(
        checkpoint=checkpoint,
        thresholds="replay",
        id="digits",
        ood=ood,
        kind="set",
        score="entropy",
        n_id=450,
        n_ood=520,
        metrics=metrics,
        id_metrics={"mean_rate": Estimate(0.1), "mean_score": Estimate(0.5)},
        set_name=ood.partition(":")[0],
        distinct_scores=970,
        labels_preserved=accuracy is not None,
    )
    return replace(row, **changes)


def id_row(checkpoint="a"):
    return ood_row(checkpoint, "digits", accuracy=0.97, kind="id", group="id", n_ood=0)


def lines_of(rows, **options):
    return body_of(ood_tables(rows, **options)[0])


def test_checkpoints_stand_side_by_side_under_each_set():
    rows = [
        ood_row(c, o, auroc=v)
        for c, o, v in [("a", "x", 0.1), ("a", "y", 0.2), ("b", "x", 0.3), ("b", "y", 0.4)]
    ]
    (table,) = ood_tables(rows)
    assert header_of(table) == HEADER[:7]
    assert [
        line if line == ["---"] else [line[0], line[2], line[3]] for line in body_of(table)
    ] == [
        ["x", "a", "0.100"],
        ["", "b", "0.300"],
        ["---"],
        ["y", "a", "0.200"],
        ["", "b", "0.400"],
    ]


def test_the_best_is_marked_by_its_full_value_and_in_the_right_direction():
    rows = [ood_row("a", "x", auroc=0.9001, fpr=0.3), ood_row("b", "x", auroc=0.9004, fpr=0.1)]
    assert best_of(ood_tables(rows)[0]) == {(1, 3), (1, 5)}
    assert best_of(ood_tables([rows[0], replace(rows[0], checkpoint="b")])[0]) == {
        (0, 3),
        (0, 5),
        (1, 3),
        (1, 5),
    }  # equals share it
    assert best_of(ood_tables(rows[:1])[0]) == set()


def test_separation_is_not_marked_where_labels_are_kept():
    rows = [
        ood_row("a", "digits:fog:1", auroc=0.6, accuracy=0.9),
        ood_row("b", "digits:fog:1", auroc=0.5, accuracy=0.95),
    ]
    assert best_of(ood_tables(rows)[0]) == {(1, 7)}


def test_a_scale_in_place_of_the_replay_is_said():
    ((_, _, label, *_),) = lines_of([ood_row(thresholds="scale 0.5")])
    assert label == "a (scale 0.5)"


def test_an_absent_accuracy_is_a_dash_and_no_column_where_none_has_one():
    absent, present = lines_of([ood_row(), ood_row(ood="c", accuracy=0.9)])
    assert absent[7:] == ["–", "–"]
    assert present[7:] == ["0.900", "0.850–0.920"]
    assert len(lines_of([ood_row()])[0]) == 7


def test_near_far_others_and_shifts_are_sections_in_this_order():
    rows = [
        ood_row(ood="x"),
        ood_row(ood="f", group="far"),
        ood_row(ood="n", group="near"),
        ood_row(ood="digits:fog:1", group="shift"),
        ood_row(ood="near", kind="mean", group="near", members=("n", "m")),
    ]
    assert [line[0] for line in lines_of(rows)] == [
        *(
            "# near",
            "n",
            "mean of 2",
            "---",
            "# far",
            "f",
            "---",
            "# other sets",
            "x",
            "---",
            "# shifts of the ID set",
            "digits:fog:1",
        )
    ]


def shifted(checkpoint="a", severities=(1, 2, 3), **changes):
    rows = [
        ood_row(
            checkpoint,
            f"digits:fog:{s}",
            shift="fog",
            severity=s,
            group="shift",
            accuracy=0.9,
            **changes,
        )
        for s in severities
    ]
    mean = replace(
        rows[0],
        kind="mean",
        ood="digits:fog",
        severity=0,
        members=tuple(row.ood for row in rows),
        n_ood=520 * len(rows),
    )
    return [*rows, mean]


def test_a_mean_stands_for_its_severities():
    assert [(line[0], line[1]) for line in lines_of(shifted())] == [("digits:fog:1–3", "1560")]
    assert [line[0] for line in lines_of(shifted(), by=["severity"])] == [
        *(f"digits:fog:{s}" for s in (1, 2, 3)),
        "digits:fog:1–3",
    ]
    assert lines_of(shifted(severities=(1, 2, 4)))[0][0] == "digits:fog:1,2,4"
    assert [line[0] for line in lines_of(shifted(severities=(2,))[:1])] == ["digits:fog:2"]


def test_several_scores_are_tables_of_their_own_and_accuracy_stands_in_the_first():
    rows = [ood_row(accuracy=0.9), ood_row(accuracy=0.9, score="energy")]
    tables = ood_tables(rows)
    assert [(table.title, len(header_of(table))) for table in tables] == [
        ("predictive entropy", 9),
        ("energy", 7),
    ]


def test_detail_shows_every_metric_and_the_id_set():
    rows = [id_row(), ood_row(accuracy=0.9)]
    titles = [table.title for table in ood_tables(rows, detail=True)]
    assert titles == [
        "",
        "Separation by entropy, further",
        "Accuracy and calibration, uncertainty by entropy",
    ]
    labelled = ood_tables(rows, detail=True)[2]
    assert [line[:2] for line in body_of(labelled)] == [
        ["# the ID set"],
        ["digits", "450"],
        ["---"],
        ["# other sets"],
        ["b", "520"],
    ]


def test_corruption_errors_are_a_table_of_their_own():
    error = {"corruption_error": Estimate(0.25, 0.2, 0.3, "cluster bootstrap")}
    relative = {**error, "relative_corruption_error": Estimate(0.8, 0.7, 0.9, "cluster bootstrap")}
    plain = ood_row(kind="mean", ood="digits, 15 corruptions", members=("x",) * 75)
    table = ood_tables([ood_row(), replace(plain, metrics=error)])[1]
    assert (table.title, header_of(table)[3:], body_of(table)[0][3:]) == (
        "Mean corruption error",
        ["error", "95 % interval"],
        ["0.250", "0.200–0.300"],
    )
    assert body_of(ood_tables([ood_row(), replace(plain, metrics=relative)])[1])[0][5:] == [
        "0.800",
        "0.700–0.900",
    ]


def test_notes_say_the_convention_the_intervals_the_ties_and_the_missing_labels():
    notes = " ".join(
        ood_notes(
            [
                id_row(),
                ood_row(),
                ood_row(ood="digits:contrast:1", accuracy=0.9, distinct_scores=12),
            ],
        )
    )
    assert "out-of-distribution positive" in notes
    assert (
        "DeLong for AUROC of sets with images of their own, Wilson for accuracy, bootstrap for the "
        "rest (1000 replicates, seed 0)" in notes
    )
    assert "Ties: 970 scores on digits:contrast:1 take 12 values; FPR@95TPR jumps" in notes
    assert "labels of that set do not correspond" in notes
    assert (
        "a on digits (n = 450): accuracy 0.9700, mean firing rate 0.200, thresholds: replay."
        in notes
    )


@pytest.mark.parametrize(
    ("auroc", "accuracy", "said"),
    [
        (0.5, 0.95, True),
        (0.7, 0.95, False),
        (0.5, 0.85, False),
        (0.6, 0.95, False),
        (0.5, 0.9, False),
    ],
)
def test_a_falling_auroc_with_a_rising_accuracy_is_explained(auroc, accuracy, said):
    first = ood_row("a", "digits:fog:1", auroc=0.6, accuracy=0.9, group="shift")
    rows = [
        id_row(),
        first,
        ood_row("b", "digits:fog:1", auroc=auroc, accuracy=accuracy, group="shift"),
    ]
    for order, (better, worse) in (
        (rows, "ba"),
        ([replace(row, checkpoint="ab"["ba".index(row.checkpoint)]) for row in rows], "ab"),
    ):
        wanted = (
            f"More accurate and yet lower in AUROC: {better} than {worse} on digits:fog:1. "
            "The "
            "labels hold there"
        )
        assert any(note.startswith(wanted) for note in ood_notes(order)) == said


def test_ties_are_told_of_sets_and_of_their_score():
    rows = [
        id_row(),
        ood_row(score="energy", distinct_scores=3),
        ood_row(kind="class", class_name="7", distinct_scores=1),
    ]
    (note,) = [note for note in ood_notes(rows) if note.startswith("Ties")]
    assert note.startswith("Ties: 970 scores of energy on b take 3 values")


def test_a_missing_interval_is_explained():
    bare = ood_row()
    bare = replace(bare, metrics={**bare.metrics, "fpr_at_tpr": Estimate(1.0)})
    assert any("scores that are all equal" in note for note in ood_notes([id_row(), bare]))
    assert not any("No interval where" in note for note in ood_notes([id_row(), ood_row()]))


def test_scores_that_cost_more_say_so():
    notes = ood_notes([id_row(), ood_row(score="odin")])
    assert any(
        note.startswith("odin: a gradient by the input and a second forward pass") for note in notes
    )


def difference(metric="auroc", p=0.01, **changes):
    values = {
        **{
            "id": "digits",
            "ood": "x",
            "kind": "set",
            "group": "",
            "class": "",
            "score": "entropy",
            "metric": metric,
            "seeds": 1,
        },
        **{
            "n_id": 450,
            "n_ood": 520,
            "a": 0.5,
            "b": 0.25,
            "difference": -0.25,
            "low": -0.3,
            "high": 0.1,
            "p_value": p,
            "p_holm": p,
        },
        **{"method": "paired bootstrap", "labels_preserved": False, **changes},
    }
    return values


def test_a_difference_has_its_sign_interval_and_p_value_and_is_bold_where_significant():
    found = [
        difference(),
        difference("fpr_at_tpr", p=0.2),
        difference("mean_rate", p=0.0001, high=-0.0004),
        difference("aupr_in", p=None, low=None, high=None),
    ]
    (table,) = compared(found).tables()
    assert body_of(table) == [
        ["# other sets"],
        ["x", "AUROC", "0.500", "0.250", "−0.250", "−0.300 … +0.100", "0.010", "0.010"],
        ["", "FPR@95TPR", "0.500", "0.250", "−0.250", "−0.300 … +0.100", "0.200", "0.200"],
        ["", "mean rate", "0.500", "0.250", "−0.250", "−0.300 … 0.000", "< 0.001", "< 0.001"],
        ["", "AUPR in", "0.500", "0.250", "−0.250", "–", "–", "–"],
    ]
    assert best_of(table) == {(0, 4), (2, 4)}


def test_notes_of_a_comparison_say_what_one_training_cannot_tell():
    one = " ".join(compared([difference()]).notes)
    assert "not what two methods would after another training" in one
    assert "gives no p-value below 0.002." in one
    assert "raise --bootstrap" not in one
    many = " ".join(compared([difference(seeds=3)] * 30).notes)
    assert "3 seeds say little" in many
    assert "Over 30 lines Holm's correction needs smaller ones; raise --bootstrap to 1,500." in many


def test_every_form_holds_the_table_the_notes_and_where_they_come_from():
    results = results_of([id_row("a_b"), ood_row("a_b"), ood_row("c", auroc=0.95)])
    assert origin_lines(FACTS) == [
        "command: ahsar-eval ood --id digits",
        "time: now, seed: 0, threads: 1",
        "versions: ahsar-eval 1, torch 2",
        "checkpoint: a, sha256 f00, thresholds: replay",
        "split: digits (test), identity 1d",
        "split: x (all), identity 2d",
    ]
    for text in (results.to_markdown(), results.to_latex()):
        assert all(line in text for line in [*origin_lines(FACTS), *results.notes])
    assert "**0.950**" in results.to_markdown()
    assert "\\textbf{0.950}" in results.to_latex()
    assert "a\\_b" in results.to_latex()
    assert results.to_text().endswith(results.notes[-1])
    assert "f00" not in results.to_text()


def test_rows_keep_replicates_out_of_files():
    drawn = {"auroc": Estimate(0.5, replicates=np.zeros(3))}
    row = replace(ood_row(), metrics=drawn, scores=(np.zeros(2), np.zeros(2)))
    assert not any("replicates" in name or name == "scores" for name in row.to_dict())
