"""What tuning studies chose, as data: ``studies/METHOD--TASK.json``, written by ``python -m benchmark tune``."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "studies"


def laid_over(old: Any, new: Any) -> Any:
    """``new`` laid over ``old``: mappings key by key, however deep; anything else replaces."""
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return new
    return {**old, **{key: laid_over(old.get(key), value) for key, value in new.items()}}


def with_settings(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Settings laid over others; ``planning.scale`` reaches inside ``planning``."""
    merged = dict(old)
    for key, value in new.items():
        for part in reversed(key.split(".")):
            value = {part: value}
        merged = laid_over(merged, value)
    return merged


def setting(settings: Mapping[str, Any], name: str) -> Any:
    """The value under a name; ``planning.scale`` reaches inside ``planning``."""
    outer, _, inner = name.partition(".")
    return setting(settings[outer], inner) if inner else settings[outer]


def tuned(method: str, by_hand: Mapping[str, Mapping[str, Any]] | None = None) -> dict[str, dict[str, Any]]:
    """Settings by task: those set by hand, and over them those that a study chose."""
    settings = {task: dict(chosen) for task, chosen in (by_hand or {}).items()}
    for path in sorted(FOLDER.glob(f"{method}--*.json")):
        task = path.stem.split("--")[1]
        settings[task] = with_settings(settings.get(task, {}), json.loads(path.read_text())["chosen"])
    return settings


def trials(method: str, task: str) -> int:
    """Configurations that were tried before a method's settings on a task were fixed by a study; 0 without one."""
    path = FOLDER / f"{method}--{task}.json"
    return len(json.loads(path.read_text())["trials"]) if path.exists() else 0
