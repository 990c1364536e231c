"""Tuning at equal effort: an Optuna study per method and task, on seeds of its own, without the true reward."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
import torch
from optuna.distributions import IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from baselines._online import silent
from benchmark.errors import UserError
from benchmark.options import discovered
from benchmark.pose import pose
from benchmark.suite import Suite, settings_of
from envs.problem import Floats, Task, Trajectories
from envs.rollout import rollout
from envs.seeding import seed_of, stream
from methods.base import Learned, Method
from methods.similarity import gaussian_mmd2
from methods.tuned import setting
from results.store import write_whole

FIRST_SEED = 1000  # suites use seeds below it
HELD_OUT, STATES = 10, 1000
CRITERION = (
    f"squared MMD (five Gaussian kernels) between {STATES} states of {HELD_OUT} demonstrations that the method did not "
    "get and of its episodes from their first states; mean over seeds, lower is better; the true reward is not read"
)


def behaviour_distance(task: Task, learned: Learned, seed: int) -> float:
    """:data:`CRITERION` for one seed.

    Args:
        task: gives the held-out demonstrations.
        learned: its policy is judged, its reward is not asked.
        seed: of demonstrations and draws.
    """
    return distance(task, learned, task.demos(HELD_OUT, seed_of("tuning", task.name, seed)).trajectories, seed)


def distance(task: Task, learned: Learned, held_out: Trajectories, seed: int) -> float:
    """Squared MMD between states of episodes and of a learnt policy's from their first states.

    Args:
        task: its environment must take the states of observations (``states_of``).
        learned: its policy is judged.
        held_out: the episodes.
        seed: of the draws.
    """
    assert task.states_of is not None
    starts = task.states_of(held_out.obs[:, 0])
    own = rollout(task.make_env(len(starts)), learned.policy, starts, stream("tuning", task.name, seed)).trajectories
    draws = stream("tuning-states", task.name, seed)

    def states(obs: Floats) -> torch.Tensor:
        flat = (obs.reshape(-1, obs.shape[-1]) - centre) / scale
        return torch.as_tensor(flat[draws.choice(len(flat), min(STATES, len(flat)), replace=False)])

    all_held_out = held_out.obs.reshape(-1, held_out.obs.shape[-1])
    centre, scale = all_held_out.mean(0), all_held_out.std(0) + 1e-3
    return float(gaussian_mmd2(states(own.obs), states(held_out.obs)))


Judge = Callable[[Task, Learned, int], float]


class Attempt(NamedTuple):
    """What came of one configuration: the criterion, or None and the reason; CPU seconds."""

    value: float | None
    reason: str
    cpu_seconds: float


def least(trials: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The trial of the least value, the first of equals; None where none ended well."""
    good = (trial for trial in trials if trial["value"] is not None)
    return min(good, key=lambda trial: float(trial["value"]), default=None)


def terms(suite: Suite, method: str, task: Task) -> dict[str, Any]:
    """What every trial of a method on a task gets: environment steps, demonstrations, seed of the base data."""
    budget, demos = suite.budget(method, task), suite.demonstrations(task)[0]
    return {"step_budget": budget, "demos": demos, "base_seed": suite.base_seed}


def attempt(
    method: Method,
    task: Task,
    chosen: dict[str, Any],
    suite: Suite,
    seeds: Sequence[int],
    judge: Judge = behaviour_distance,
) -> Attempt:
    """Runs a method with chosen settings; settings that break it are a bad attempt, not the end of the study.

    Args:
        method, task: what is tuned.
        chosen: settings by name, over the suite's.
        suite: gives budget, demonstrations and settings that trials share.
        seeds: the criterion is the mean over them.
        judge: the criterion.

    Returns:
        the criterion, or why there is none; nothing is raised.
    """
    began, found = time.process_time(), []
    try:
        config = method.config(**settings_of(method, task, suite, chosen))
        given = terms(suite, method.name, task)
        for seed in seeds:
            torch.manual_seed(seed)
            base_seed = seed if suite.base_seed == "cell" else suite.base_seed
            posed = pose(task, seed, given["demos"], given["step_budget"], base_seed, False, silent)
            learned = method.fit(posed.problem, config, stream("tuning", method.name, task.name, seed))
            found.append(judge(task, learned, seed))
        if not np.isfinite(found).all():
            raise ArithmeticError(f"criterion {found} is not finite")
        value, reason = float(np.mean(found)), ""
    except Exception as error:
        value, reason = None, f"{type(error).__name__}: {error}"
    return Attempt(value, reason, round(time.process_time() - began, 1))


def _named(method: str, task: str, chosen: dict[str, Any], *rest: Any) -> Attempt:
    """:func:`attempt` by names: methods cannot be sent to other processes."""
    torch.set_num_threads(1)
    registry = discovered()
    return attempt(registry.method(method)[0], registry.task(task)[0], chosen, *rest)


Submit = Callable[[str, str, dict[str, Any]], "Future[Attempt]"]  # by names of method and task, and settings


@contextmanager
def processes(workers: int, suite: Suite, seeds: Sequence[int], judge: Judge = behaviour_distance) -> Iterator[Submit]:
    """What starts attempts, ``workers`` at a time, each in a process of its own; see :func:`attempt`."""
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        yield lambda method, task, chosen: pool.submit(_named, method, task, chosen, suite, seeds, judge)


class Study:
    """A study that goes on where it was stopped; its first trial are the settings that stand.

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
            load_if_exists=True,
        )
        drawn = len(self._study.trials)  # a study that goes on draws anew
        self._study.sampler = optuna.samplers.TPESampler(seed=FIRST_SEED + drawn, n_startup_trials=5)
        for lost in self._study.get_trials(states=(TrialState.RUNNING,)):  # an interrupted process left it
            self._study.tell(lost.number, state=TrialState.FAIL)

    @property
    def finished(self) -> list[FrozenTrial]:
        """Trials with an outcome, good or not; first the settings that stand, which have no drawn parameters."""
        found = self._study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))
        return sorted(found, key=lambda trial: bool(trial.params))

    @property
    def cpu_seconds(self) -> list[float]:
        """Of each finished trial."""
        return [trial.user_attrs["cpu_seconds"] for trial in self.finished]

    def ask(self) -> tuple[Trial, dict[str, Any]]:
        """The next trial and its settings, all that are searched, by name: none again while others are untried.

        The sampler may draw the same for ever, so what it repeats gives way to an even draw from what is untried.
        """
        begun = self._study.get_trials(states=(TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED))
        tried = {json.dumps(trial.user_attrs["settings"]) for trial in begun}
        if all(trial.params for trial in begun):
            stands = settings_of(self.method, self.task, self.suite, {})
            trial, chosen = self._study.ask(), {name: setting(stands, name) for name in self.method.search}
        else:
            trial, chosen = self._drawn()
        if json.dumps(chosen) in tried:
            points = np.ndindex(*map(len, self.method.search.values()))
            if untried := [point for point in points if json.dumps(self._at(point)) not in tried]:
                self._study.tell(trial, state=TrialState.FAIL)
                draw = stream("tuning-untried", self.method.name, self.task.name, trial.number)
                fresh = untried[draw.integers(len(untried))]
                self._study.enqueue_trial(dict(zip(self.method.search, fresh, strict=True)))
                trial, chosen = self._drawn()
        trial.set_user_attr("settings", chosen)
        return trial, chosen

    def _drawn(self) -> tuple[Trial, dict[str, Any]]:
        trial = self._study.ask({n: IntDistribution(0, len(values) - 1) for n, values in self.method.search.items()})
        return trial, self._at([trial.params[name] for name in self.method.search])

    def _at(self, point: Sequence[int]) -> dict[str, Any]:
        """Settings at an index into each setting's values."""
        return {n: values[k] for (n, values), k in zip(self.method.search.items(), point, strict=True)}

    def tell(self, trial: Trial, found: Attempt) -> FrozenTrial:
        """Ends a trial."""
        trial.set_user_attr("reason", found.reason)
        trial.set_user_attr("cpu_seconds", found.cpu_seconds)
        return self._study.tell(trial, found.value, TrialState.PRUNED if found.value is None else TrialState.COMPLETE)

    def outcome(self) -> dict[str, Any]:
        """The study as data: how it was made, every trial, the chosen settings (those of the least value)."""
        trials = [{"value": trial.value, **trial.user_attrs} for trial in self.finished]
        if (best := least(trials)) is None:
            raise UserError(f"{self.path}: no trial has ended well, nothing can be chosen")
        return {
            "method": self.method.name,
            "task": self.task.name,
            "criterion": CRITERION,
            "seeds": self.seeds,
            **terms(self.suite, self.method.name, self.task),
            "search": {name: list(values) for name, values in self.method.search.items()},
            "trials": trials,
            "chosen": best["settings"],
        }

    def write(self, folder: Path) -> Path:
        """Puts the outcome where :mod:`methods.tuned` finds it."""
        path = folder / f"{self.method.name}--{self.task.name}.json"
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, f"{json.dumps(self.outcome(), indent=1)}\n".encode())
        return path


def run(
    studies: Sequence[Study],
    trials: int,
    seconds: float,
    tell: Callable[[Study, FrozenTrial], None],
    submit: Callable[[Study, dict[str, Any]], "Future[Attempt]"],
    workers: int = 1,
) -> None:
    """Adds trials to each study until there are ``trials`` in all or their CPU seconds exceed ``seconds``.

    Studies take turns, so that an interruption leaves them all about as far; within a turn the longest go first.

    Args:
        studies: each of its own journal.
        trials, seconds: of each study.
        tell: is told of every trial that ended.
        submit: starts an attempt.
        workers: attempts at a time.
    """
    running: dict[Future[Attempt], tuple[Study, Trial]] = {}

    def begun(study: Study) -> int:
        return len(study.finished) + sum(other is study for other, _ in running.values())

    while True:
        left = [study for study in studies if begun(study) < trials and sum(study.cpu_seconds) < seconds]
        if left and len(running) < workers:
            study = min(left, key=lambda one: (begun(one), -max(one.cpu_seconds, default=0.0)))
            trial, chosen = study.ask()
            running[submit(study, chosen)] = study, trial
        elif running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                study, trial = running.pop(future)
                tell(study, study.tell(trial, future.result()))
        else:
            return
