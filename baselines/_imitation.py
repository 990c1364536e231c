"""What BC, GAIL and AIRL share: the libraries ``imitation`` and Stable-Baselines3 on our types."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box
from imitation.data.types import TransitionMapping
from imitation.util.logger import HierarchicalLogger
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from envs.problem import Floats, Trajectories
from methods.policies import MLPPolicy


class Silent(HierarchicalLogger):
    """imitation's logger without the folders and files that the original leaves behind."""

    def __init__(self) -> None:
        super().__init__(Logger(folder=None, output_formats=[]), format_strs=())

    def accumulate_means(self, name: str) -> Any:
        return nullcontext()


class Standardise(BaseFeaturesExtractor):
    """Observations minus a fixed mean over a fixed standard deviation, limited as in ``MLPPolicy.normalise``.

    Args:
        observation_space: Box of width O.
        mean, std: ``[O]``.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, observation_space: Box, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__(observation_space, observation_space.shape[0])
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        return ((obs - self.mean) / self.std).clamp(-10, 10)


def moments(*observations: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation ``[O]`` over all given observations ``[.., O]``; constant columns get 1."""
    flat = np.concatenate([x.reshape(-1, x.shape[-1]) for x in observations]).astype(np.float64)
    std = flat.std(0)
    return flat.mean(0).astype(np.float32), np.where(std > 1e-6, std, 1.0).astype(np.float32)


def policy_kwargs(mean: Floats, std: Floats, hidden: Sequence[int], log_std: float) -> dict[str, Any]:
    """Arguments of an ``ActorCriticPolicy`` that :func:`exported` can copy."""
    return {
        "net_arch": {"pi": list(hidden), "vf": list(hidden)},
        "activation_fn": torch.nn.Tanh,
        "log_std_init": log_std,
        "features_extractor_class": Standardise,
        "features_extractor_kwargs": {"mean": mean.tolist(), "std": std.tolist()},
    }


def exported(policy: ActorCriticPolicy) -> MLPPolicy:
    """The mean action of an SB3 policy as a policy part: equal actions, without SB3.

    Args:
        policy: built with :func:`policy_kwargs`.
    """
    layers = [m for m in [*policy.mlp_extractor.policy_net, policy.action_net] if isinstance(m, torch.nn.Linear)]
    space = policy.action_space
    assert isinstance(space, Box)
    part = MLPPolicy(
        obs=layers[0].in_features,
        low=space.low.tolist(),
        high=space.high.tolist(),
        hidden=[layer.out_features for layer in layers[:-1]],
        activation="tanh",
        squash="clip",
    )
    targets = [m for m in part.net if isinstance(m, torch.nn.Linear)]
    for target, layer in zip(targets, layers, strict=True):
        target.load_state_dict(layer.state_dict())
    features = policy.features_extractor
    assert isinstance(features, Standardise)
    part.mean.copy_(features.mean)
    part.std.copy_(features.std)
    return part.eval()


class Batches(Iterable[TransitionMapping]):
    """Shuffled demonstration batches in imitation's form; each pass leaves out a rest below one batch.

    Args:
        demos: demonstrations of at least one step.
        size: transitions per batch; no more than there are.
        rng: shuffles.
    """

    def __init__(self, demos: Trajectories, size: int, rng: np.random.Generator) -> None:
        obs, acts, next_obs = demos.transitions()
        self.size, self._rng = min(size, len(acts)), rng
        self._order, self._at = np.zeros(0, np.int64), 0
        # demonstrations end at the time limit, which is no terminal state
        self._data = {"obs": obs, "acts": acts, "next_obs": next_obs, "dones": np.zeros(len(acts), bool)}

    def __iter__(self) -> Iterator[TransitionMapping]:
        """Goes on with the pass under way; begins a new one where that is through."""
        if self._at + self.size > len(self._order):
            self._order, self._at = self._rng.permutation(len(self._data["acts"])), 0
        while self._at + self.size <= len(self._order):
            chosen = self._order[self._at : self._at + self.size]
            self._at += self.size
            batch: Any = {key: value[chosen] for key, value in self._data.items()}
            yield batch

    def state(self) -> dict[str, Any]:
        """Where the pass under way stands, for :meth:`load`."""
        return {"order": self._order, "at": self._at}

    def load(self, state: dict[str, Any]) -> None:
        """Takes up what :meth:`state` gave."""
        self._order, self._at = state["order"], state["at"]
