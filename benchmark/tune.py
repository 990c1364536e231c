"""Tuning at equal effort: an Optuna study per method and task, on seeds of its own, without the true reward."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from benchmark.errors import UserError
from benchmark.pose import pose
from benchmark.suite import Suite, settings_of
from envs.problem import Floats, Task
from envs.rollout import rollout
from envs.seeding import seed_of, stream
from methods.base import Learned, Method
from methods.similarity import gaussian_mmd2

FIRST_SEED = 1000  # suites use seeds below it
HELD_OUT, STATES = 10, 1000
CRITERION = (
    f"squared MMD (five Gaussian kernels) between {STATES} states of {HELD_OUT} demonstrations that the method did not "
    "get and of its episodes from their first states; mean over seeds, lower is better; the true reward is not read"
)


def behaviour_distance(task: Task, learned: Learned, seed: int) -> float:
    """:data:`CRITERION` for one seed."""
    assert task.states_of is not None
    held_out = task.demos(HELD_OUT, seed_of("tuning", task.name, seed)).trajectories
    starts = task.states_of(held_out.obs[:, 0])
    own = rollout(task.make_env(len(starts)), learned.policy, starts, stream("tuning", task.name, seed)).trajectories
    draws = stream("tuning-states", task.name, seed)

    def states(obs: Floats) -> torch.Tensor:
        flat = (obs.reshape(-1, obs.shape[-1]) - centre) / scale
        return torch.as_tensor(flat[draws.choice(len(flat), min(STATES, len(flat)), replace=False)])

    all_held_out = held_out.obs.reshape(-1, held_out.obs.shape[-1])
    centre, scale = all_held_out.mean(0), all_held_out.std(0) + 1e-3
    return float(gaussian_mmd2(states(own.obs), states(held_out.obs)))


class Study:
    """A study that goes on where it was stopped.

    Args:
        method, task: what is tuned.
        suite: gives budget, demonstrations and settings that trials share.
        seeds: a trial's value is the mean over them, 1000 and above.
        folder: of the journal.

    Raises:
        UserError: seeds that suites use, nothing to search, or a task that cannot be set to a demonstration's start.
    """

    def __init__(self, method: Method, task: Task, suite: Suite, seeds: list[int], folder: Path) -> None:
        if min(seeds) < FIRST_SEED:
            raise UserError(f"tuning seeds {seeds}: take {FIRST_SEED} and above, those below are evaluated")
        if not method.search:
            raise UserError(f"{method.name} names no settings to search: give its METHOD a `search`")
        if task.states_of is None:
            raise UserError(f"{task.name} cannot be set to the first states of demonstrations (its states_of is None)")
        self.method, self.task, self.suite, self.seeds = method, task, suite, seeds
        self.path = folder / f"{method.name}--{task.name}.journal"
        folder.mkdir(parents=True, exist_ok=True)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(self.path))),
            study_name=json.dumps([suite.model_dump(mode="json"), seeds], sort_keys=True),
            sampler=optuna.samplers.TPESampler(seed=FIRST_SEED, n_startup_trials=5),
            load_if_exists=True,
        )
        for lost in self._study.get_trials(states=(TrialState.RUNNING,)):  # an interrupted process left it
            self._study.tell(lost.number, state=TrialState.FAIL)

    @property
    def finished(self) -> list[FrozenTrial]:
        """Trials with an outcome, good or not."""
        return self._study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))

    def run(self, trials: int, seconds: float, tell: Callable[[FrozenTrial], None]) -> None:
        """Adds trials until there are ``trials`` in all or their CPU seconds exceed ``seconds``."""
        while len(self.finished) < trials and sum(t.user_attrs["cpu_seconds"] for t in self.finished) < seconds:
            trial = self._study.ask()
            chosen = {}
            if trial.number:  # the first one is the settings that stand
                chosen = {
                    name: values[trial.suggest_int(name, 0, len(values) - 1)]
                    for name, values in self.method.search.items()
                }
            began = time.process_time()
            trial.set_user_attr("settings", chosen)
            try:
                value, state, reason = self._value(chosen), TrialState.COMPLETE, ""
            except Exception as error:  # settings that break the method are a bad trial, not the end of the study
                value, state, reason = None, TrialState.PRUNED, f"{type(error).__name__}: {error}"
            trial.set_user_attr("reason", reason)
            trial.set_user_attr("cpu_seconds", round(time.process_time() - began, 1))
            tell(self._study.tell(trial, value, state))

    def _value(self, chosen: dict[str, Any]) -> float:
        config = self.method.config(**settings_of(self.method, self.task, self.suite, chosen))
        found = []
        for seed in self.seeds:
            torch.manual_seed(seed)
            demos = self.suite.demonstrations(self.task)[0]
            budget = self.suite.step_budget.get(self.task.name, self.task.step_budget)
            posed = pose(self.task, seed, demos, budget, seed, False, lambda fraction, values: None)
            learned = self.method.fit(posed.problem, config, stream("tuning", self.method.name, self.task.name, seed))
            found.append(behaviour_distance(self.task, learned, seed))
        if not np.isfinite(found).all():
            raise ArithmeticError(f"criterion {found} is not finite")
        return float(np.mean(found))

    def outcome(self) -> dict[str, Any]:
        """The study as data: how it was made, every trial, the chosen settings (those of the least value)."""
        good = [trial for trial in self.finished if trial.value is not None]
        if not good:
            raise UserError(f"{self.path}: no trial has ended well, nothing can be chosen")
        best = min(good, key=lambda trial: trial.value)  # type: ignore[arg-type,return-value]
        return {
            "method": self.method.name,
            "task": self.task.name,
            "criterion": CRITERION,
            "seeds": self.seeds,
            "step_budget": self.suite.step_budget.get(self.task.name, self.task.step_budget),
            "demos": self.suite.demonstrations(self.task)[0],
            "search": {name: list(values) for name, values in self.method.search.items()},
            "trials": [{"value": t.value, **t.user_attrs} for t in self.finished],
            "chosen": best.user_attrs["settings"],
        }

    def write(self, folder: Path) -> Path:
        """Puts the outcome where :mod:`methods.tuned` finds it."""
        path = folder / f"{self.method.name}--{self.task.name}.json"
        folder.mkdir(parents=True, exist_ok=True)
        whole = path.with_suffix(".tmp")
        whole.write_text(json.dumps(self.outcome(), indent=1) + "\n")
        return whole.replace(path)
