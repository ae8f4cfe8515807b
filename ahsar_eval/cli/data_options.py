"""Options that say where data lie and how they are read: --data-root, --download, --split-seed,
--frost.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ahsar_eval.errors import UsageError

if TYPE_CHECKING:
    from ahsar_eval.data import DataOptions

Command = TypeVar("Command", bound=Callable[..., Any])


def data_options(command: Command) -> Command:
    """--data-root, --download, --split-seed and --frost, handed to the command as one argument
    `data`.
    """
    options = [
        click.option(
            "--data-root",
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="Folder of the named sets (default: AHSAR_EVAL_DATA or the user's cache).",
        ),
        click.option(
            "--download", is_flag=True, help="Download a missing set where torchvision can."
        ),
        click.option(
            "--split-seed",
            default=0,
            show_default=True,
            type=int,
            help="Seed of random splits (cifar10-dvs-random).",
        ),
        click.option(
            "--frost",
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="Photographs of frost in place of the grown frost textures.",
        ),
    ]

    @functools.wraps(command)
    def wrapped(
        *arguments: Any,
        data_root: Path | None,
        download: bool,
        split_seed: int,
        frost: Path | None,
        **rest: Any,
    ) -> Any:
        return command(*arguments, data=chosen_data(data_root, download, split_seed, frost), **rest)

    return functools.reduce(lambda inner, option: option(inner), reversed(options), wrapped)  # type: ignore[return-value]


def chosen_data(
    data_root: Path | None, download: bool, split_seed: int, frost: Path | None
) -> "DataOptions":
    """The four options as one value. Raises `UsageError`."""
    from ahsar_eval.data import DataOptions
    from ahsar_eval.data.entry import default_root

    if data_root is not None and not data_root.expanduser().is_dir() and not download:
        raise UsageError(
            f"--data-root {str(data_root)!r} is no folder; give the folder that holds the sets"
        )
    if frost is not None:
        from ahsar_eval.data.corruptions.weather import photographs_identity

        photographs_identity(frost)  # refused now, not when the first crop is taken
    if split_seed < 0:
        raise UsageError(f"--split-seed is {split_seed}; expected a whole number from 0")
    return DataOptions(
        data_root.expanduser() if data_root else default_root(), download, split_seed, frost
    )
