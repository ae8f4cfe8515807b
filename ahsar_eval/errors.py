"""The error family of the package.

Every message is one sentence that says what was found, what was expected and what to do. The
command line prints the message and exits with `exit_code`; a caller in Python catches `AhsarError`.
"""

import contextlib
from collections.abc import Iterable, Iterator


class AhsarError(Exception):
    """Something the user can mend; the base of every error this package raises on purpose."""

    exit_code = 2


class UsageError(AhsarError):
    """An argument, option or combination of them that cannot be served."""


class CheckpointError(AhsarError):
    """A checkpoint file that cannot be read, trusted or matched to a network."""


class DataError(AhsarError):
    """A data set, split, shift or file that is missing, malformed or does not fit the network."""


class ModelError(AhsarError):
    """A network that cannot be built, or whose outputs are not what its specification says."""


class HomeostasisError(AhsarError):
    """Controller parameters or a use of the controller that cannot work."""


class RecordingError(AhsarError):
    """A forward pass whose activity cannot be counted as declared, or a recording that cannot serve
    a request.
    """


class OutputError(AhsarError):
    """A result that cannot be written where it was asked for."""


class RequirementError(AhsarError):
    """Something that was required of a network, and is not met."""

    exit_code = 1


class AhsarWarning(UserWarning):
    """Something that works but that the user should know; the command line prints it as
    one line."""


@contextlib.contextmanager
def unreadable(what: str, advice: str) -> Iterator[None]:
    """Whatever a library raises on damaged input in this block becomes a `DataError`: `what`, the
    reason, `advice`. PIL, NumPy, zipfile and their like raise nearly anything.
    """
    try:
        yield
    except AhsarError:
        raise
    except Exception as error:
        reason = type(error).__name__
        if isinstance(error, OSError) and error.filename:
            reason = f"{error.strerror}: {error.filename}"
        raise DataError(f"{what} ({reason}); {advice}") from error


@contextlib.contextmanager
def misread(kind: type[AhsarError], what: str, advice: str) -> Iterator[None]:
    """What this block finds missing or of another type in a stored mapping becomes an error of the
    `kind`: `what`, the reason, `advice`.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise kind(f"{what} ({type(error).__name__}: {error}); {advice}") from error


def close_to(name: str, known: Iterable[str]) -> str:
    """' (did you mean X?)' for the known name that is nearest, '' where none is near."""
    import difflib

    folded = {one.casefold(): one for one in known}
    nearest = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    return f" (did you mean {folded[nearest[0]]}?)" if nearest else ""
