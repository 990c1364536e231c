"""What tuning studies chose, as data: ``studies/METHOD--TASK.json``, written by ``python -m benchmark tune``."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "studies"


def study(method: str, task: str) -> dict[str, Any] | None:
    """The committed study of a method on a family of tasks: criterion, seeds, trials, the chosen settings; or None."""
    path = FOLDER / f"{method}--{task}.json"
    found: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return found


def tuned(method: str, by_hand: Mapping[str, Mapping[str, Any]] | None = None) -> dict[str, dict[str, Any]]:
    """Settings by task: those set by hand, and over them those that a study chose."""
    settings = {task: dict(chosen) for task, chosen in (by_hand or {}).items()}
    for path in sorted(FOLDER.glob(f"{method}--*.json")):
        task = path.stem.split("--")[1]
        settings[task] = settings.get(task, {}) | json.loads(path.read_text())["chosen"]
    return settings


def trials(method: str, task: str) -> int:
    """Configurations that were tried before a method's settings on a task were fixed by a study; 0 without one."""
    found = study(method, task)
    return len(found["trials"]) if found else 0
