"""What a command prints and writes, kept under the hash of all that made it.

A command that is asked the same again, of the same recordings, needs neither statistics nor tables.
Only the command line and the time are filled in anew: texts are kept with marks in their places.
"""

import contextlib
import datetime
import json
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ahsar_eval.errors import OutputError
from ahsar_eval.files import sha256_of, write_text
from ahsar_eval.provenance import command_line, package_digest, versions

Texts = Mapping[str, str]  # by form: table, markdown, csv, json, latex
Made = Mapping[str, Texts]  # by use: what is shown, what is written


def finished(
    folder: Path | None, parts: Mapping[str, Any], make: Callable[[Mapping[str, str]], Made]
) -> dict[str, dict[str, str]]:
    """The texts of `parts` that are kept in `folder`, else what `make` makes of them, kept.

    `parts` is JSON-ready and holds everything that can change a character, but for the versions
    and the code of this package, which are added here. `make` is given the "command" and the "time"
    that it is to write. A file that cannot be read is as good as none, and so is a folder that
    cannot be written.
    """
    key = sha256_of(json.dumps([parts, versions(), package_digest()], sort_keys=True))
    file = None if folder is None else folder / f"{key}.json"
    kept = _read(file)
    if kept is None:
        marks = {"command": secrets.token_hex(16), "time": secrets.token_hex(16)}
        kept = {"marks": marks, "texts": {use: dict(texts) for use, texts in make(marks).items()}}
        if file is not None:
            with contextlib.suppress(OutputError):  # recordings, which lie there too, say so
                write_text(file, json.dumps(kept))
    return {
        use: {form: _filled(text, form, kept["marks"]) for form, text in texts.items()}
        for use, texts in kept["texts"].items()
    }


def _read(file: Path | None) -> dict[str, Any] | None:
    if file is None or not file.is_file():
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and {"marks", "texts"} <= found.keys() else None


def _filled(text: str, form: str, marks: Mapping[str, str]) -> str:
    command = command_line()
    if form == "json":
        command = json.dumps(command, ensure_ascii=False)[1:-1]
    elif form == "latex":
        command = " ".join(command.split())  # a comment ends with its line
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return text.replace(marks["command"], command).replace(marks["time"], now)
