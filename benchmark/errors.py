"""Errors that a user can mend: one message, exit code 2, no traceback."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Says what was given, what is allowed, and what to do."""


def unknown(kind: str, name: str, allowed: Iterable[str]) -> UserError:
    """The error for a name that is none of ``allowed``, nearest ones first; ``kind`` is e.g. ``method``."""
    options = sorted(allowed)
    near = difflib.get_close_matches(name, options, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return UserError(f"unknown {kind} {name!r}.{hint} Allowed: {', '.join(options) or 'none'}")
