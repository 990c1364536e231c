"""The harness: grid, runner, scores, command line.

The project's packages have everyday names, and Python looks into the working directory first: a folder ``envs/`` or
``methods/`` that lies there would be taken for ours. So the other packages are looked for beside this one.
"""

import sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

OURS = ("methods", "baselines", "envs", "results", "reports")


class Beside:
    """Finds the project's other packages beside this one, before any other finder is asked."""

    @staticmethod
    def find_spec(name: str, *_: Any) -> ModuleSpec | None:
        """Where the package ``name`` lies, if it is one of ours."""
        return PathFinder.find_spec(name, [str(Path(__file__).parents[1])]) if name in OURS else None


sys.meta_path.insert(0, Beside)
