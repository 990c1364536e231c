"""What cells share is built once, also where two ask for it at the same time."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark import references as measured
from benchmark import reoptimise
from benchmark.pose import pose
from envs.datasets import cached
from envs.maze2d import UMAZE_TASK
from methods import pretraining


class Slow:
    """Counts how often it builds, and takes its time."""

    def __init__(self, build: Callable[..., Any]) -> None:
        self._build, self.times = build, 0

    def __call__(self, *given: Any) -> Any:
        self.times += 1
        time.sleep(0.5)
        return self._build(*given)


def by_two(work: Callable[[], object]) -> None:
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(work), pool.submit(work)]:
            done.result()


@pytest.mark.parametrize("kind", ["data", "base model", "references", "agent on the true reward"])
def test_two_that_ask_at_once_build_once(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = pose(UMAZE_TASK, 0, 1, 0, 0, False, lambda fraction, values: None).problem
    monkeypatch.setenv("IRLBENCH_CACHE", str(tmp_path / "cache"))
    if kind == "data":
        build = Slow(lambda: (problem.base, np.zeros(problem.base.acts.shape[:2], np.float32)))
        by_two(lambda: cached("shared", build))
    elif kind == "base model":
        build = Slow(pretraining.train)
        monkeypatch.setattr(pretraining, "train", build)
        by_two(lambda: pretraining.base_model(problem, pretraining.TOY))
    elif kind == "references":
        build = Slow(lambda task: {"random_seen": np.zeros(1)})
        monkeypatch.setattr(measured, "_measure", build)
        by_two(lambda: measured.references(UMAZE_TASK, "shared"))
    else:
        build = Slow(lambda *given: None)
        monkeypatch.setattr(reoptimise, "agent", build)
        monkeypatch.setattr(reoptimise, "earned", lambda *given: 1.0)
        by_two(lambda: reoptimise.yardsticks(UMAZE_TASK, "", problem.base, 1, 0, "shared"))
    assert build.times == 1
