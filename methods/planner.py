"""Acting by planning: sample windows from the present observation, act the first tokens, plan again."""

from typing import Any

import numpy as np
import torch

from envs.problem import Floats
from methods.base import Config, PolicyPart, RewardPart, TrajectoryRewardPart
from methods.diffuser import Diffuser, Guide
from methods.rewards import WindowReward
from methods.windows import normal_noise


class Planning(Config):
    """How windows are sampled to act.

    ``scale`` and ``inner`` are size and number of guidance steps per diffusion step, none below diffusion step
    ``stop``; ``temperature`` scales the sampling noise; ``execute`` tokens of a plan are carried out.
    """

    scale: float = 1.0
    inner: int = 2
    stop: int = 2
    temperature: float = 0.5
    execute: int = 4


def window_guide(diffuser: Diffuser, reward: RewardPart | TrajectoryRewardPart) -> Guide:
    """The reward of normalised windows: its own value for window rewards, the mean over tokens for step rewards."""
    if isinstance(reward, WindowReward):
        return reward.on_windows
    assert isinstance(reward, RewardPart)

    def mean_over_tokens(x: torch.Tensor) -> torch.Tensor:
        obs, acts = diffuser.codec.decode(x)
        # of a token's actions the first stands for all: step rewards see one action
        first = acts[:, :: diffuser.codec.skip]
        return reward(obs[:, :-1], first[:, :-1], obs[:, 1:]).mean(1)

    return mean_over_tokens


class Planner(PolicyPart):
    """Receding-horizon policy of a diffuser, guided by a reward or not (Janner et al. 2022).

    Args:
        diffuser: arguments of the :class:`Diffuser`.
        guide: ``{"part": key in Part.known, "arguments": {...}}`` of the reward, or None to sample unguided.
        planning: a :class:`Planning` as plain values.
    """

    def __init__(self, diffuser: dict[str, Any], guide: dict[str, Any] | None, planning: dict[str, Any]) -> None:
        super().__init__(diffuser=diffuser, guide=guide, planning=planning)
        self.diffuser = Diffuser(**diffuser)
        self.reward = None if guide is None else PolicyPart.known[guide["part"]](**guide["arguments"])
        self.planning = Planning(**planning)
        self._step = 0

    @staticmethod
    def of(diffuser: Diffuser, reward: RewardPart | TrajectoryRewardPart | None, planning: Planning) -> "Planner":
        """A planner of given models, which it shares."""
        guide = None
        if reward is not None:
            kind = f"{type(reward).__module__}:{type(reward).__qualname__}"
            guide = {"part": kind, "arguments": reward.arguments}
        planner = Planner(diffuser=diffuser.arguments, guide=guide, planning=planning.model_dump())
        planner.diffuser, planner.reward = diffuser, reward
        return planner

    def begin(self, n: int) -> None:
        self._step = 0

    def plan(self, obs: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """One window from each observation ``[n, O]``: observations ``[n, H, O]`` and actions ``[n, H*skip, A]``."""
        codec = self.diffuser.codec
        guide = None if self.reward is None else window_guide(self.diffuser, self.reward)  # type: ignore[arg-type]
        x = self.diffuser.reverse(
            codec.first(torch.as_tensor(obs, device=codec.mean.device)),
            normal_noise(len(obs), codec, self.diffuser.steps + 1, rng),
            guide,
            self.planning.scale,
            self.planning.inner,
            self.planning.stop,
            self.planning.temperature,
        )
        seen, acts = codec.decode(x)
        return seen.cpu().numpy(), acts.cpu().numpy()

    def forward(self, obs: Floats, rng: np.random.Generator) -> Floats:
        span = self.planning.execute * self.diffuser.codec.skip
        if self._step % span == 0:
            self._acts = self.plan(obs, rng)[1]
        action = self._acts[:, self._step % span]
        self._step += 1
        return action
