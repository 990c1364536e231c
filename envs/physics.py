"""Batched MuJoCo: n states of one model, stepped together in C by ``mujoco.rollout``. No reward lives here."""

from collections.abc import Callable
from typing import Any

import mujoco
import numpy as np
from gymnasium.spaces import Box
from mujoco.rollout import Rollout
from numpy.typing import NDArray

Floats = NDArray[np.float32]
States = NDArray[np.float64]


def checked(name: str, values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """The values, if they are finite and of that shape.

    Args:
        name: what they are, for the message.
        values: floats.
        shape: which they must have.

    Raises:
        ValueError: says which of both they are not.
    """
    if values.shape != shape:
        raise ValueError(f"{name} {list(values.shape)} must be of shape {list(shape)}")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite: {int((~np.isfinite(values)).sum())} of {values.size} are not")
    return values


class BatchEnv:
    """``n`` copies of one MuJoCo model with fixed-length episodes.

    Args:
        model: the compiled model; never changed here.
        n: number of copies.
        horizon: steps of an episode.
        frame_skip: physics steps per action.
        observe: states ``[n, S]`` to observations ``[n, O]``.
        sample_starts: ``(n, rng) -> states [n, S]``.
        prepare: applied to states before each step (e.g. D4RL's velocity limit); None for nothing.

    States are float64 (qpos, qvel), ``S = nq + nv``.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        n: int,
        horizon: int,
        frame_skip: int,
        observe: Callable[[States], NDArray[np.float64]],
        sample_starts: Callable[[int, np.random.Generator], States],
        prepare: Callable[[States], States] | None = None,
    ) -> None:
        if n < 1:
            raise ValueError(f"n = {n}: at least one environment is needed")
        self.n, self.horizon, self.frame_skip = n, horizon, frame_skip
        self.model, self._observe, self._sample_starts, self._prepare = model, observe, sample_starts, prepare
        self._models = [model] * n
        self._data = [mujoco.MjData(model)]
        self._rollout = Rollout(nthread=0)  # on the calling thread
        self._full = np.zeros((n, 1 + model.nq + model.nv + model.na))  # time, qpos, qvel, act
        self._out = np.zeros((n, frame_skip, self._full.shape[1]))
        self._sensors = np.zeros((n, frame_skip, model.nsensordata))
        self._controls = np.zeros((n, frame_skip, model.nu))
        low, high = model.actuator_ctrlrange.T.astype(np.float32)
        self.action_space = Box(low, high)
        width = observe(np.zeros((1, model.nq + model.nv))).shape[1]
        self.observation_space = Box(-np.inf, np.inf, (width,))

    @property
    def states(self) -> States:
        """float64 ``[n, S]``: a copy of the present states."""
        return self._full[:, 1:].copy()

    def observe(self, states: States) -> Floats:
        """States ``[n, S]`` as the policy sees them, float32 ``[n, O]``."""
        return self._observe(states).astype(np.float32)

    def reset(self, rng: np.random.Generator) -> Floats:
        """Draws ``n`` start states; returns observations ``[n, O]``."""
        return self.reset_to(self._sample_starts(self.n, rng))

    def reset_to(self, states: States) -> Floats:
        """Sets the simulator to given states.

        Args:
            states: float64 ``[n, S]``.

        Raises:
            ValueError: wrong shape or values that are not finite.
        """
        states = checked("states", np.asarray(states, np.float64), (self.n, self._full.shape[1] - 1))
        self._full[:, 0] = 0.0
        self._full[:, 1:] = states
        return self.observe(states)

    def step(self, acts: NDArray[np.floating]) -> Floats:
        """Advances every copy by one action.

        Args:
            acts: ``[n, A]``, clipped into the action space.

        Returns:
            observations float32 ``[n, O]``.

        Raises:
            ValueError: wrong shape, or actions that are not finite.
        """
        acts = checked("actions", np.asarray(acts, np.float64), (self.n, self.model.nu))
        self._controls[:] = np.clip(acts, self.action_space.low, self.action_space.high)[:, None]
        if self._prepare is not None:
            self._full[:, 1:] = self._prepare(self._full[:, 1:])
        self._rollout.rollout(
            self._models,
            self._data,
            self._full,
            self._controls,
            skip_checks=True,
            nstep=self.frame_skip,
            state=self._out,
            sensordata=self._sensors,
        )
        self._full[:] = self._out[:, -1]
        return self.observe(self._full[:, 1:])
