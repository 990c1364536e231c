"""The checks that every method must pass, run on its smoke settings."""

import json
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from baselines._online import silent
from benchmark.pose import Posed, pose
from benchmark.registry import check_name
from envs.problem import Task
from envs.rollout import rollout
from envs.seeding import stream
from methods.base import Learned, Method, RewardPart

STEP_BUDGET = 4000
SAMPLE = 256


@dataclass(frozen=True)
class Result:
    """Outcome of one check; the message says what was wrong, the rule what must hold."""

    name: str
    passed: bool
    message: str = ""
    rule: str = ""


@dataclass(frozen=True)
class Fitted:
    """One run of a method on its smoke settings, and what the checks ask of it."""

    method: Method
    task: Task
    posed: Posed
    learned: Learned
    demos_before: str

    def transitions(self) -> tuple[NDArray[np.float32], ...]:
        """Some held-out steps."""
        return tuple(x[:SAMPLE].copy() for x in self.posed.held_out.trajectories.transitions())

    def actions(self) -> NDArray[np.float32]:
        """Actions of the first steps from the seen starts, float32 ``[T, n, A]``."""
        env, policy = self.task.make_env(len(self.task.seen_starts)), self.learned.policy
        env.horizon = 5
        return rollout(env, policy, self.task.seen_starts, np.random.default_rng(1)).trajectories.acts

    def rewards(self) -> NDArray[np.float32]:
        """Learnt rewards of some steps, or of some episodes where they are of windows; empty if there are none."""
        if self.learned.reward is None:
            return np.zeros(0, np.float32)
        if isinstance(self.learned.reward, RewardPart):
            return self.learned.step_rewards(*self.transitions())
        return self.learned.returns(self.posed.held_out.trajectories[:8])


def fit(method: Method, task: Task) -> Fitted | str:
    """Fits a method on its smoke settings, as the harness would; or why it declines the task."""
    posed = pose(task, 0, task.default_demos, STEP_BUDGET, 0, method.control, silent)
    if reason := method.unsupported(posed.problem):
        return reason
    before = posed.problem.demos.content_hash()
    config = method.config(**{**method.tuned.get(task.family, {}), **method.smoke})
    learned = method.learn(posed.problem, config, stream("conformance", method.name, task.name, 0))
    return Fitted(method, task, posed, learned, before)


def described(method: Method) -> None:
    """Name, title and source say what it is."""
    check_name(method.name)
    assert method.title.strip(), "the title is empty"
    assert len(method.source.strip()) > 5, "no source is cited"


def settings_round_trip(method: Method) -> None:
    """Settings survive JSON, and the tuned and smoke ones are valid."""
    for chosen in ({}, method.smoke, *method.tuned.values()):
        config = method.config(**chosen)
        again = method.config(**json.loads(json.dumps(config.model_dump(mode="json"))))
        assert again == config, f"{config} became {again}"


def actions_fit(run: Fitted) -> None:
    """Actions are finite float32 of the right shape; those beyond the limits are clipped by the environment."""
    obs = run.transitions()[0][:3]
    run.learned.policy.begin(len(obs))
    acts = np.asarray(run.learned.policy(obs, np.random.default_rng(0)))
    space = run.posed.problem.action_space
    assert acts.shape == (3, *space.shape), f"actions {acts.shape} for 3 observations; must be {(3, *space.shape)}"
    assert np.isfinite(acts).all(), "actions are not finite"
    assert acts.dtype == np.float32, f"actions are {acts.dtype}; must be float32"
    run.actions()


def reward_fits(run: Fitted) -> None:
    """The reward is there if promised, finite, and one number per step or window."""
    reward = run.learned.reward
    assert (reward is not None) == run.method.recovers_reward, (
        f"recovers_reward is {run.method.recovers_reward}, the reward {type(reward).__name__}"
    )
    if isinstance(reward, RewardPart):
        obs, acts, next_obs = (torch.as_tensor(x) for x in run.transitions())
        found = reward(obs, acts, next_obs)
        assert isinstance(found, torch.Tensor), f"forward of the reward returned a {type(found).__name__}, not a tensor"
        shape = tuple(found.shape)
        assert shape == (len(obs),), f"rewards {shape} for {len(obs)} steps"
        stacked = [x.reshape(2, -1, x.shape[-1]) for x in (obs, acts, next_obs)]
        shape = tuple(reward(*stacked).shape)
        assert shape == tuple(stacked[0].shape[:2]), f"rewards {shape} for steps of shape {tuple(stacked[0].shape[:2])}"
    assert np.isfinite(run.rewards()).all(), "rewards are not finite"


def demonstrations_untouched(run: Fitted) -> None:
    """The demonstrations are as they were given."""
    assert run.posed.problem.demos.content_hash() == run.demos_before, "fit changed the demonstrations"


def budget_kept(run: Fitted) -> None:
    """No more steps than granted."""
    meter = run.posed.problem.meter
    assert meter.used <= meter.budget, f"{meter.used} steps of {meter.budget}"


def curve_fits(run: Fitted) -> None:
    """Curve rows are finite numbers over env_steps or gradient_steps, and JSON."""
    json.dumps(run.learned.curve, allow_nan=False)
    for row in run.learned.curve:
        assert {"env_steps", "gradient_steps"} & row.keys(), f"curve row {row} lacks env_steps and gradient_steps"


def saved_and_loaded(run: Fitted) -> None:
    """What is loaded acts and values as what was saved. A control may wrap what the harness handed it."""
    if run.method.control:
        return
    with tempfile.TemporaryDirectory() as folder:
        run.learned.save(Path(folder))
        loaded = Learned.load(Path(folder))
    again = Fitted(run.method, run.task, run.posed, loaded, run.demos_before)
    assert np.array_equal(again.actions(), run.actions()), (
        "the loaded policy acts differently: keep arrays with register_buffer, pass every argument on to "
        "super().__init__ by keyword, and draw from the rng given to forward"
    )
    assert np.array_equal(again.rewards(), run.rewards(), equal_nan=True), (
        "the loaded reward differs: keep arrays with register_buffer, and pass every argument on to super().__init__ "
        "by keyword"
    )


def repeatable(run: Fitted) -> None:
    """The same seed gives the same result to the last bit."""
    torch.rand(3)  # nothing may depend on what was drawn before
    again = fit(run.method, run.task)
    assert isinstance(again, Fitted), f"it declines the task now: {again}"
    assert np.array_equal(again.actions(), run.actions()), "the same seed gave another policy"
    assert np.array_equal(again.rewards(), run.rewards(), equal_nan=True), "the same seed gave another reward"


FIT = "fit(problem, config, rng) runs to its end within its steps and returns a Learned."
STATIC: tuple[Callable[[Method], None], ...] = (described, settings_round_trip)
DYNAMIC: tuple[Callable[[Fitted], None], ...] = (
    actions_fit,
    reward_fits,
    demonstrations_untouched,
    budget_kept,
    curve_fits,
    saved_and_loaded,
    repeatable,
)


def examine(method: Method, task: Task) -> Iterator[Result]:
    """Runs every check; one that fails does not stop the others."""
    for check in STATIC:
        yield _result(check, method)
    try:
        run = fit(method, task)
    except Exception as error:
        frames, own = traceback.extract_tb(error.__traceback__), _file(method.fit)
        place = next((frame for frame in reversed(frames) if frame.filename == own), frames[-1])
        message = f"{type(error).__name__}: {error} ({Path(place.filename).name}, line {place.lineno})"
        if "finite" in message:
            message += "; a network or the reward that it learns from gives NaN or inf"
        yield Result("fit", False, message, FIT)
        return
    if isinstance(run, str):
        yield Result("fit", True, f"declines this task: {run}")
        return
    for checked in DYNAMIC:
        yield _result(checked, run)


def _file(fit: Callable[..., Any]) -> str:
    """Where a function, or that of a partial one, is written; empty for what has no source."""
    code = getattr(getattr(fit, "func", fit), "__code__", None)
    return code.co_filename if code else ""


def _result(check: Callable[[Any], None], given: Any) -> Result:
    rule = str(check.__doc__)
    try:
        check(given)
    except Exception as error:
        message = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
        return Result(check.__name__, False, message, rule)
    return Result(check.__name__, True, rule=rule)
