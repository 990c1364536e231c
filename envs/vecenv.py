"""The metered environment as Stable-Baselines3 sees it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from envs.metered import Floats, MeteredEnv


class MeteredVecEnv(VecEnv):
    """A :class:`envs.metered.MeteredEnv` as an SB3 ``VecEnv``: every reward is 0, all episodes end together.

    The end is the time limit, never a terminal state: infos then hold ``TimeLimit.truncated`` (True) and
    ``terminal_observation`` (float32 ``[O]``), and the observations returned are those of the next episode.

    Start states come from the generator given to the environment, so :meth:`seed` changes nothing.

    Args:
        env: the environment; its budget holds here too.
    """

    def __init__(self, env: MeteredEnv) -> None:
        self._env = env
        super().__init__(env.n, env.observation_space, env.action_space)

    def reset(self) -> Floats:
        """Starts all episodes; float32 ``[n, O]``."""
        return self._env.reset()

    def step_async(self, actions: NDArray[np.floating]) -> None:
        self._actions = actions

    def step_wait(self) -> tuple[Floats, Floats, NDArray[np.bool_], list[dict[str, Any]]]:
        obs, over = self._env.step(self._actions)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if over:
            infos = [{"TimeLimit.truncated": True, "terminal_observation": last} for last in obs]
            obs = self._env.reset()
        return obs, np.zeros(self.num_envs, np.float32), np.full(self.num_envs, over), infos

    def close(self) -> None:
        pass

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        value = None if attr_name == "render_mode" else getattr(self._env, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise AttributeError(f"{attr_name} cannot be set: all copies share one simulator")

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        raise AttributeError(f"{method_name} cannot be called on one copy: all share one simulator")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False for _ in self._get_indices(indices)]
