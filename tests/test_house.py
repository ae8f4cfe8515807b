"""The rules of the house, read from the source: who may import whom, what is heavy, who writes
thresholds.
"""

import ast
import functools
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from PIL import Image

from ahsar_eval.data.sets import EMBEDDED

PACKAGE = Path(__file__).resolve().parent.parent / "ahsar_eval"
PARTS = {path.stem for path in PACKAGE.iterdir()} - {"__init__"}


def rows_of(page: Path) -> list[tuple[str, ...]]:
    """The rows of the house as docs/architecture.md lists them, from the ground up."""
    lines = re.findall(r"^\| (\d) \| ([^|]+) \|", page.read_text(encoding="utf-8"), re.M)
    return [tuple(re.findall(r"`(\w+)`", parts)) for _, parts in sorted(lines)]


# A module imports from the rows below it, or from its own folder.
ROWS = (*rows_of(PACKAGE.parent / "docs" / "architecture.md"), ("__main__",))
ROW = {part: number for number, parts in enumerate(ROWS) for part in parts}
# Pure functions of recordings and of what is made of them: they run without a model.
SEES_RECORDINGS_ONLY = {"ood", "energy", "plots"}
HEAVY = (
    *(
        "torch",
        "torchvision",
        "torchaudio",
        "spikingjelly",
        "tonic",
        "numpy",
        "scipy",
        "numba",
        "llvmlite",
        "h5py",
    ),
    *("sklearn", "pandas", "matplotlib", "seaborn"),
)


def part_of(module: str) -> str:
    """'ahsar_eval.recording.store' → 'recording'; the package itself → ''."""
    return [*module.split("."), ""][1]


@functools.cache
def tree(file: Path) -> ast.Module:
    """A file of the package, parsed once for all rules."""
    return ast.parse(file.read_text(encoding="utf-8"))


@functools.cache
def imports(file: Path) -> list[tuple[str, int]]:
    """Every module a file imports, anywhere in it, with the line; `from ahsar_eval import x` counts
    as `ahsar_eval.x` where that is a module or a folder, else as the package itself.
    """
    found = []
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            found += [(name.name, node.lineno) for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno} imports relatively"
            if node.module == "ahsar_eval":
                found += [
                    (
                        f"ahsar_eval.{n.name}" if n.name in PARTS else "ahsar_eval",
                        node.lineno,
                    )
                    for n in node.names
                ]
            else:
                found.append((str(node.module), node.lineno))
    return found


def allowed(importer: str, imported: str) -> bool:
    """Whether part `importer` of the package may import part `imported`."""
    if imported in ("", importer):  # '' is the package's version
        return True
    if (
        importer == ""
    ):  # the package itself imports nothing; its names are loaded when they are used
        return False
    if importer in SEES_RECORDINGS_ONLY:
        seen = {"recording", "results"} | ({"ood", "energy"} if importer == "plots" else set())
        return imported in seen or ROW[imported] == 0
    return ROW[imported] < ROW[importer] or (ROW[importer] == 0 and imported in ROWS[0])


FILES = sorted(PACKAGE.rglob("*.py"))


def place(file: Path) -> str:
    relative = file.relative_to(PACKAGE)
    return (
        ""
        if relative.name == "__init__.py" and len(relative.parts) == 1
        else relative.parts[0].removesuffix(".py")
    )


def test_there_are_files_to_read():
    assert len(FILES) > 40


def test_every_part_of_the_package_has_a_row():
    assert {place(file) for file in FILES} - {""} <= set(ROW)


def test_a_module_imports_from_lower_rows_or_its_own_folder():
    wrong = [
        f"{file.relative_to(PACKAGE).as_posix()}:{line} in row {ROW.get(place(file))} imports "
        f"{module}"
        for file in FILES
        for module, line in imports(file)
        if module.split(".")[0] == "ahsar_eval" and not allowed(place(file), part_of(module))
    ]
    assert not wrong, "\n".join(wrong)


def test_the_rules_themselves():
    assert allowed("recording", "networks")
    assert allowed("cli", "study")
    assert allowed("files", "errors")
    assert allowed("energy", "recording")
    assert allowed("plots", "files")
    assert allowed("plots", "ood")
    for importer, imported in [
        ("networks", "recording"),  # up
        ("homeostasis", "data"),  # a neighbour
        ("ood", "energy"),
        ("ood", "networks"),  # below, but a network
        ("plots", "networks"),
        ("errors", "cli"),
        ("", "recording"),
    ]:
        assert not allowed(importer, imported)


@pytest.mark.parametrize(
    ("library", "parts"),
    [
        ("spikingjelly", {"networks"}),
        ("matplotlib", {"plots"}),
        ("seaborn", {"plots"}),
        ("click", {"cli"}),
        ("sklearn", {"data", "ood"}),
        ("torchvision", {"data"}),
        ("tonic", {"data"}),
        ("pytorch_ood", set()),  # the tests compare with it
        ("ray", {"study"}),
    ],
)
def test_a_library_is_imported_only_where_it_belongs(library, parts):
    used = {
        (place(file), file.name, line)
        for file in FILES
        for module, line in imports(file)
        if module.split(".")[0] == library
    }
    assert {part for part, _, _ in used} <= parts, used


@pytest.mark.parametrize("part", ["cli", ""])
def test_no_command_imports_anything_heavy_at_its_top(part):
    for file in FILES:
        if place(file) == part:
            top = [
                node for node in tree(file).body if isinstance(node, (ast.Import, ast.ImportFrom))
            ]
            names = {
                name.name for node in top if isinstance(node, ast.Import) for name in node.names
            }
            names |= {str(node.module) for node in top if isinstance(node, ast.ImportFrom)}
            assert not {name.split(".")[0] for name in names} & set(HEAVY), file


def writes_threshold(node: ast.AST) -> bool:
    """Whether a node sets an attribute named v_threshold: assignment of any kind, deletion, or
    setattr.
    """
    targets: list[ast.expr] = []
    if isinstance(node, (ast.Assign, ast.Delete)):
        targets = node.targets
    elif isinstance(node, (ast.AugAssign, ast.AnnAssign, ast.For, ast.NamedExpr)):
        targets = [node.target]
    elif isinstance(node, ast.Call):
        named = isinstance(node.func, ast.Name) and node.func.id in ("setattr", "delattr")
        special = isinstance(node.func, ast.Attribute) and node.func.attr in (
            "__setattr__",
            "__delattr__",
        )
        return (named or special) and any(
            isinstance(a, ast.Constant) and a.value == "v_threshold" for a in node.args
        )
    return any(
        isinstance(inner, ast.Attribute) and inner.attr == "v_threshold"
        for target in targets
        for inner in ast.walk(target)
    )


@pytest.mark.parametrize(
    ("source", "written"),
    [
        ("n.v_threshold = 1", True),
        ("a, n.v_threshold = 1, 2", True),
        ("n.v_threshold *= 2", True),
        ("setattr(n, 'v_threshold', 1)", True),
        ("x = n.v_threshold", False),
        ("LIF(v_threshold=1)", False),
        ("hasattr(n, 'v_threshold')", False),
    ],
)
def test_a_written_threshold_is_recognised(source, written):
    assert any(map(writes_threshold, ast.walk(ast.parse(source)))) == written


def test_thresholds_are_written_in_one_file_only():
    writers = {
        file.relative_to(PACKAGE).as_posix()
        for file in FILES
        if any(map(writes_threshold, ast.walk(tree(file))))
    }
    assert writers == {"homeostasis/thresholds.py"}


def stand_ins(file: Path) -> tuple[dict[str, str], dict[str, str]]:
    """What a file imports for type checkers alone, and what `later(…)` stands for, by the name that
    each is given.
    """
    imported: dict[str, str] = {}
    later: dict[str, str] = {}
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for held in node.body:
                if isinstance(held, ast.ImportFrom):
                    imported |= {
                        name.asname or name.name: f"{held.module}.{name.name}"
                        for name in held.names
                    }
            for held in node.orelse:
                assert isinstance(held, ast.Assign), f"{file}:{held.lineno}"
                place = ast.unparse(held.value).replace("later('", "").replace("')", "")
                later |= {ast.unparse(target): place for target in held.targets}
    return imported, later


def test_names_of_data_that_are_loaded_when_used_are_what_type_checkers_see():
    from ahsar_eval import data

    imported, _ = stand_ins(PACKAGE / "data" / "__init__.py")
    later = {
        name: getattr(data, name).__module__ for name in data.__all__ if name not in vars(data)
    }
    assert {name: f"{place}.{name}" for name, place in later.items()} == imported


def heavy_modules(*arguments: str, **environment: str) -> tuple[list[str], str]:
    """Heavy libraries that a fresh Python imported while running `arguments`, by `-X importtime`,
    and its standard output.
    """
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent), **environment},
        timeout=120,
    )
    modules = {
        line.rsplit("|", 1)[1].strip().split(".")[0]
        for line in done.stderr.splitlines()
        if line.startswith("import time:")
    }
    assert "ahsar_eval" in modules, done.stderr[-500:]
    return sorted(modules & set(HEAVY)), done.stdout


def test_importing_the_package_imports_nothing_heavy():
    assert heavy_modules("-c", "import ahsar_eval") == ([], "")


def every_command() -> list[tuple[str, ...]]:
    """The words of each command and group."""
    from ahsar_eval.cli.main import cli

    def below(command: click.Command, words: tuple[str, ...]) -> list[tuple[str, ...]]:
        held = command.commands.items() if isinstance(command, click.Group) else ()
        return [words, *(found for name, inner in held for found in below(inner, (*words, name)))]

    return below(cli, ())


# Runs one command after another and stops at the first that imports anything heavy. A bare call
# prints the help on standard error.
LIGHT = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
from ahsar_eval.cli.main import run
for words in json.loads(sys.argv[1]):
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        assert run(words) == (0 if words else 2), (words, printed.getvalue())
    assert printed.getvalue(), words
    assert not sys.modules.keys() & set(json.loads(sys.argv[2])), (words, sorted(sys.modules.keys() & set(json.loads(sys.argv[2]))))
"""


def test_help_and_what_is_known_of_sets_import_nothing_heavy(command, tmp_path):
    for number, name in enumerate(("ant", "cat")):
        (tmp_path / "set" / name).mkdir(parents=True)
        Image.new("RGB", (6, 5), (number, 0, 0)).save(tmp_path / "set" / name / "1.png")
    helps = [[*words, "--help"] for words in every_command()]
    assert len(helps) > 12
    known = [[], ["--version"], ["completion", "bash"], ["data", "list"], *helps]
    time.sleep(2.1)  # of a file that has just changed nothing is kept
    opened = [["data", "info", name] for name in (*EMBEDDED, f"folder:{tmp_path / 'set'}")]
    assert all(command(*words).code == 0 for words in opened)
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, json.dumps([*known, *opened]), json.dumps(HEAVY)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize(
    ("words", "offered"), [("o", "ood"), ("data i", "info"), ("data info --ro", "--role")]
)
def test_completion_imports_nothing_heavy(words, offered):
    asked = {
        "_AHSAR_EVAL_COMPLETE": "bash_complete",
        "COMP_WORDS": f"ahsar-eval {words}",
        "COMP_CWORD": str(len(words.split())),
    }
    heavy, out = heavy_modules("-m", "ahsar_eval", **asked)
    assert heavy == []
    assert out.splitlines() == [f"plain,{offered}"]


def test_public_names_are_there_when_they_are_used():
    import ahsar_eval

    for name in ahsar_eval.__all__:
        assert getattr(ahsar_eval, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = ahsar_eval.nothing
