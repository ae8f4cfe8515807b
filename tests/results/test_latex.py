"""LaTeX tables: text is printed as it is, the parts of a table stand where TeX takes them, and
nothing unbalanced is written.
"""

import re
import shutil
import subprocess

import pytest
from grids import table_of
from hypothesis import given
from hypothesis import strategies as st

from ahsar_eval.results.text import escaped
from ahsar_eval.results.text import latex_table as of_table

HEADER = ["set", "n", "AUROC"]
BODY = [
    ["# near"],
    ["cifar100", "10,000", "0.900"],
    ["tin", "9,000", "0.880"],
    ["---"],
    ["# far"],
    ["svhn", "26,032", "–"],
]

# What TeX reads back as one letter of text: the inverse of the escapes, written down on its own.
PRINTED = {
    r"\textbackslash{}": "\\",
    r"\textasciitilde{}": "~",
    r"\textasciicircum{}": "^",
    r"\textless{}": "<",
    r"\textgreater{}": ">",
    r"\textbar{}": "|",
    r"{\char34}": '"',
    "{'}": "'",
    "{`}": "`",
    **{"\\" + letter: letter for letter in "{}$&%#_"},
    r"$\pm$": "±",
    "$-$": "−",
    "{}": "",
}
TOKEN = re.compile(
    "|".join(re.escape(code) for code in sorted(PRINTED, key=len, reverse=True)) + "|-{1,3}|.",
    re.DOTALL,
)


def latex_table(header, body, *, best=(), caption="", **more):
    return of_table(table_of(header, body, best, caption), **more)


def read_as_tex(code: str) -> str:
    """What plain TeX prints for code of this small language; a special character outside it is an
    error.
    """
    printed = []
    for token in TOKEN.findall(code):
        assert token not in set("\\{}$&%#_~^<>|\"'`"), f"{token!r} in {code!r} is not text"
        printed.append({"--": "–", "---": "—"}.get(token, PRINTED.get(token, token)))
    return "".join(printed)


def rows(table: str) -> list[str]:
    inside = table.split("\\toprule\n")[1].split("\\bottomrule")[0]
    return [line for line in inside.splitlines() if line.endswith(r"\\")]


def test_a_table_by_hand():
    assert latex_table(
        HEADER, BODY, best={(0, 2)}, comments=["command: ahsar-eval ood"]
    ) == "\n".join(
        [
            "% command: ahsar-eval ood",
            r"% needs \usepackage{booktabs}",
            r"\begin{tabular}{lrr}",
            r"\toprule",
            r"set & n & AUROC \\",
            r"\midrule",
            r"\multicolumn{3}{l}{\textit{near}} \\",
            r"cifar100 & 10,000 & \textbf{0.900} \\",
            r"tin & 9,000 & 0.880 \\",
            r"\midrule",
            r"\multicolumn{3}{l}{\textit{far}} \\",
            r"svhn & 26,032 & -- \\",
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def test_a_caption_makes_it_a_whole_table():
    table = latex_table(HEADER, BODY, caption="50 % of_it")
    assert (
        table.index(r"\begin{table}[t]")
        < table.index(r"\caption{50 \% of\_it}")
        < table.index(r"\begin{tabular}")
        < table.index(r"\end{tabular}")
        < table.index(r"\end{table}")
    )
    assert r"\begin{table}" not in latex_table(HEADER, BODY)


def test_rules_stand_between_rows_and_above_headings():
    body = [["# near"], ["a", "1", "2"], ["# far"], ["b", "1", "2"], ["---"], ["c", "1", "2"]]
    inside = (
        latex_table(HEADER, body)
        .split("AUROC \\\\\n\\midrule\n")[1]
        .split("\n\\bottomrule")[0]
        .splitlines()
    )
    assert inside == [
        r"\multicolumn{3}{l}{\textit{near}} \\",
        r"a & 1 & 2 \\",
        r"\midrule",
        r"\multicolumn{3}{l}{\textit{far}} \\",
        r"b & 1 & 2 \\",
        r"\midrule",
        r"c & 1 & 2 \\",
    ]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a_b%c&d#e$f{g}", r"a\_b\%c\&d\#e\$f\{g\}"),
        ("~^\\", r"\textasciitilde{}\textasciicircum{}\textbackslash{}"),
        ("0.1–0.2 — ± −1 × 10", r"0.1--0.2 --- $\pm$ $-$1 $\times$ 10"),
        ("a--b---c", "a-{}-b-{}-{}-c"),
        ("1-–2", "1-{}--2"),  # a hyphen before a dash is not a longer dash
        (",,", ",{},"),
        ("µ γ σ² √", r"$\mu$ $\gamma$ $\sigma$$^2$ $\surd$"),
        ("tabs\tand\nlines\x00 go", "tabs and lines go"),
        ("zero\u200bwidth", "zerowidth"),
        ("cafe\u0301 größer", "café größer"),
    ],
)
def test_text_by_hand(text, code):
    assert escaped(text) == code


@given(st.text(st.sampled_from("ab1 .-,\\{}$&%#_~^<>|\"'`[]*()±−–—:/"), max_size=20))
def test_text_is_printed_as_it_is(text):
    assert read_as_tex(escaped(text)) == " ".join(text.split())


@given(st.lists(st.text(max_size=8), min_size=3, max_size=3))
def test_whatever_the_cells_hold_the_table_keeps_its_columns_and_its_braces(cells):
    table = latex_table(
        HEADER, [cells, ["x", "y", "z"]], best={(0, 1)}, caption="x" + cells[0], comments=[cells[0]]
    )
    assert [len(re.findall(r"(?<!\\)&", line)) for line in rows(table)] == [2, 2, 2]
    code = "\n".join(line for line in table.splitlines() if not line.startswith("%"))
    plain = re.sub(r"\\[{}\\]", "", code)
    depths = [0]
    for letter in plain:
        depths.append(depths[-1] + {"{": 1, "}": -1}.get(letter, 0))
    assert depths[-1] == min(depths) == 0
    assert len(re.findall(r"(?<!\\)\$", code)) % 2 == 0
    assert not re.search(r"(?<!\\)%", code), "what follows a % is lost"
    assert len(table.splitlines()) == len(
        latex_table(HEADER, [["a", "b", "c"]] * 2, caption="a", comments=["a"]).splitlines()
    )
    table.encode("utf-8")


@pytest.mark.parametrize("first", ["[a]", "*a"])
def test_the_first_cell_is_not_taken_for_an_argument(first):
    for line in rows(latex_table([first, "b"], [[first, "1"], [first, "2"]])):
        assert line.startswith("{" + first[0] + "}" + first[1:] + " & ")


def test_it_compiles(tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")
    names = ["a_b%c&d#e$f{g}~^\\", '[x]--<y>|"z"\'`', "0.1–0.2 ± − × µ γ √", "größer"]
    body = [
        ["# near_1"],
        *[[name, "1", "–"] for name in names],
        ["---"],
        ["# far"],
        ["*b", "2", "0.5"],
    ]
    table = latex_table(HEADER, body, best={(0, 2)}, caption=names[0], comments=names)
    packages = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n"
    (tmp_path / "table.tex").write_text(packages + table + "\n\\end{document}\n", encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:].decode(errors="replace")
