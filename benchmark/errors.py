"""Errors that a user can mend: one message, exit code 2, no traceback."""

import difflib
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager


class UserError(Exception):
    """Says what was given, what is allowed, and what to do."""


def unknown(kind: str, name: str, allowed: Iterable[str]) -> UserError:
    """The error for a name, of a ``kind`` such as ``method``, that is none of ``allowed``: the nearest, else all."""
    options = sorted(allowed)
    near = difflib.get_close_matches(name, options, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Allowed: {', '.join(options) or 'none'}"
    return UserError(f"unknown {kind} {name!r}. {hint}")


def demand(kind: str, names: Iterable[str], allowed: Collection[str]) -> None:
    """Refuses names that are none of ``allowed``.

    Raises:
        UserError: as :func:`unknown` says it, of the first of them.
    """
    for name in names:
        if name not in allowed:
            raise unknown(kind, name, allowed)


@contextmanager
def as_user_error(*kinds: type[Exception], before: str = "", after: str = "") -> Iterator[None]:
    """While entered, errors of these kinds become UserErrors: their text, between what is said before and after it."""
    try:
        yield
    except kinds as error:
        raise UserError(f"{before}{error}{after}") from error
