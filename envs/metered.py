"""The environment a method gets: no reward, and steps that count against a budget."""

from typing import Any

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from envs.physics import BatchEnv

Floats = NDArray[np.float32]


class BudgetExceeded(RuntimeError):
    """A method asked for more environment steps than it was given."""


class Meter:
    """Counts environment steps over all environments of one run.

    Args:
        budget: steps allowed in all.
    """

    def __init__(self, budget: int) -> None:
        self._budget, self._used = budget, 0

    @property
    def budget(self) -> int:
        """Steps allowed in all."""
        return self._budget

    @property
    def used(self) -> int:
        """Steps taken so far."""
        return self._used

    def resume(self, used: int) -> None:
        """Takes up the count of an interrupted run; it can only rise.

        Raises:
            ValueError: ``used`` is below the steps taken.
        """
        if used < self._used:
            raise ValueError(f"{self._used} steps are taken: the count cannot fall to {used}")
        self._used = used

    def charge(self, steps: int) -> None:
        """Takes ``steps`` off the budget.

        Raises:
            BudgetExceeded: nothing is charged and no step is taken.
        """
        if self._used + steps > self._budget:
            raise BudgetExceeded(
                f"{steps} more environment steps after {self._used} exceed the budget of {self._budget}: "
                f"read problem.step_budget and stop in time"
            )
        self._used += steps


class MeteredEnv:
    """``n`` environments in lockstep. Episodes all last ``horizon`` steps, then all start afresh.

    Args:
        env: the physics.
        meter: shared by all environments of the run.
        rng: source of start states.
    """

    def __init__(self, env: BatchEnv, meter: Meter, rng: np.random.Generator) -> None:
        self._env, self._meter, self._rng = env, meter, rng
        self.n: int = env.n
        self.horizon: int = env.horizon
        self.observation_space: Box = env.observation_space
        self.action_space: Box = env.action_space
        self._t = env.horizon  # step() before reset() is refused

    def state(self) -> dict[str, Any]:
        """Time, physics and steps taken: all that :meth:`load` needs to go on from here."""
        return {"t": self._t, "states": self._env.states, "used": self._meter.used}

    def load(self, state: dict[str, Any]) -> None:
        """Takes up what :meth:`state` gave."""
        self._t = state["t"]
        self._meter.resume(state["used"])
        self._env.reset_to(state["states"])

    def reset(self) -> Floats:
        """Starts all episodes; float32 ``[n, O]``."""
        self._t = 0
        return self._env.reset(self._rng)

    def step(self, acts: Floats) -> tuple[Floats, bool]:
        """One step of each environment.

        Args:
            acts: float ``[n, A]``, clipped into the action space.

        Returns:
            observations float32 ``[n, O]`` and whether all episodes ended with this step: call :meth:`reset` then.

        Raises:
            BudgetExceeded: the run's step budget does not hold ``n`` more steps.
            RuntimeError: the episode is over, or none has begun.
        """
        if self._t >= self.horizon:
            raise RuntimeError(f"no episode is under way, they last {self.horizon} steps: call reset() first")
        self._meter.charge(self.n)
        self._t += 1
        return self._env.step(acts), self._t == self.horizon
