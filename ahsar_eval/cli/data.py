"""`ahsar-eval data`: which sets and shifts there are, and what they look like."""

import click


@click.group(short_help="List the known sets and shifts, or describe one set.")
def data() -> None:
    """The sets a NAME can mean."""


@data.command("list", short_help="Known sets and shifts.")
def list_sets() -> None:
    """Known sets and shifts."""
    from ahsar_eval.data import SETS, SHIFTS
    from ahsar_eval.report import text_table

    click.echo(
        text_table(
            ["set", "note"],
            [
                *([name, make("test").note] for name, make in SETS.items()),
                ["folder:PATH", "images on disk, one sub-folder per class"],
                ["npz:PATH", "NumPy archive with x and, optionally, y"],
            ],
        )
    )
    shifts = [[name, "yes" if shift.labels_preserved else "no", (shift.apply.__doc__ or "").strip()] for name, shift in SHIFTS.items()]
    click.echo("\n" + text_table(["shift", "keeps labels", "what it does"], shifts))


@data.command(short_help="Size, shape, classes and identity of one set.")
@click.argument("name")
@click.option("--role", default="test", show_default=True, help="train, validation or test.")
def info(name: str, role: str) -> None:
    """Size, shape, classes and identity of one set."""
    from ahsar_eval.data import open_set, parse
    from ahsar_eval.report import text_table

    found = open_set(parse(name).name, role)
    shape = "several" if found.shape is None else "x".join(map(str, found.shape))
    rows = [
        ["split", found.role],
        ["images", str(len(found))],
        ["shape", shape],
        ["classes", ", ".join(found.classes) or "none"],
        ["identity", found.identity],
        ["note", found.note or "–"],
    ]
    click.echo(text_table(["set", found.name], rows))
