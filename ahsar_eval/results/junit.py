"""Requirements as JUnit XML, which shows them in a CI: a test case for each requirement and
network, as `testsuites/testsuite/testcase` of the format that Ant's JUnit task writes.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ahsar_eval.errors import OutputError
from ahsar_eval.files import check_folder_writable, write_text

Row = Mapping[str, Any]
_START = "<?xml version='1.0' encoding='UTF-8'?>\n<testsuites name=\"ahsar-eval\""
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def check_junit(file: Path) -> None:
    """That a report can be written there: nothing is replaced but an earlier one. Raises
    `OutputError`.
    """
    check_folder_writable(file.parent)
    if file.is_dir():
        raise OutputError(f"cannot write {str(file)!r}: it is a folder; name a file")
    if not file.exists():
        return
    with open(file, "rb") as reader:
        start = reader.read(len(_START))
    if start and start != _START.encode():
        raise OutputError(
            f"{str(file)!r} is there and no JUnit report of ahsar-eval; name another file, or "
            "remove it"
        )


def write_junit(file: Path, name: str, records: Sequence[Row], facts: Row) -> None:
    """Write the report of requirements `records` that were decided by the command `name`; `facts`
    are the provenance. Raises `OutputError`.
    """
    write_text(file, junit_text(name, records, facts))


def junit_text(name: str, records: Sequence[Row], facts: Row) -> str:
    """The report as XML: every case holds its record as properties, one that is not met a
    `failure`.
    """
    failures = str(sum(not row["passed"] for row in records))
    counts = {"tests": str(len(records)), "failures": failures, "errors": "0"}
    root = ElementTree.Element("testsuites", {"name": "ahsar-eval", **counts})
    at = {"timestamp": facts["time"], "skipped": "0"}
    suite = _below(root, "testsuite", {"name": f"ahsar-eval {name}", **counts, **at})
    origin = {"command": facts["command"], **facts["versions"]}
    _properties(suite, origin)
    for row in records:
        of = ", ".join(filter(None, [row["label"], row["profile"]]))
        named = {"classname": f"ahsar-eval.{name}", "name": f"{row['requirement']}: {of}"}
        case = _below(suite, "testcase", named)
        _properties(case, row)
        if not row["passed"]:
            kind = "not decided" if row["bound"] is None else "not met"
            failure = _below(case, "failure", {"type": kind, "message": _sentence(row)})
            failure.text = failure.attrib["message"]
    ElementTree.indent(root)
    body = ElementTree.tostring(root, encoding="unicode")
    return f"{_START.partition('<testsuites')[0]}{body}\n"


def _sentence(row: Row) -> str:
    """Why a requirement is not met."""
    if row["bound"] is None:
        return _plain(f"not decided: {row['why']}")
    measured = f"{row['value']}"
    if row["low"] is not None:
        measured += f", 95 % interval {row['low']} to {row['high']}"
    unit = f" {row['unit']}" if row["unit"] else ""
    return _plain(
        f"expected {row['comparison']} {row['needed']}{unit}, decided on the {row['decided_on']} "
        f"({row['bound']}{unit}); measured {measured}"
    )


def _properties(parent: ElementTree.Element, values: Row) -> None:
    found = _below(parent, "properties", {})
    for name, value in values.items():
        if value is not None and value != "":
            _below(found, "property", {"name": name, "value": str(value)})


def _below(parent: ElementTree.Element, tag: str, said: Mapping[str, str]) -> ElementTree.Element:
    return ElementTree.SubElement(parent, tag, {key: _plain(text) for key, text in said.items()})


def _plain(text: str) -> str:
    """Without the characters that XML cannot hold."""
    return _NOT_XML.sub("\ufffd", text)
