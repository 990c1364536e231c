"""Acting by planning: sample windows from the present observation, act the first tokens, plan again."""

import copy
from typing import Any

import numpy as np
import torch
from pydantic import Field

from envs.problem import Floats
from methods.base import Config, Part, PolicyPart, RewardPart, TrajectoryRewardPart
from methods.diffuser import Diffuser, Watch, Worth, ascent
from methods.rewards import WindowReward
from methods.value import Value
from methods.windows import Codec, normal_noise


class Planning(Config):
    """How windows are sampled to act.

    ``scale`` and ``inner`` are size and number of guidance steps per diffusion step, none below diffusion step
    ``stop``; ``temperature`` scales the sampling noise; ``execute`` tokens of a plan are carried out. Of ``candidates``
    plans the one of highest reward is taken; ``bfloat16`` halves the denoiser's precision. The default temperature is
    the posterior's own noise; it was chosen with true scores in sight (docs/protocol.md, under Tuning).
    """

    scale: float = Field(1.0, gt=0)
    inner: int = Field(2, ge=0)
    stop: int = Field(2, ge=0)
    temperature: float = Field(1.0, ge=0)
    execute: int = Field(4, ge=1)
    candidates: int = Field(1, ge=1)
    bfloat16: bool = False

    def sampling(self) -> dict[str, Any]:
        """What :meth:`Diffuser.reverse` takes of it."""
        return self.model_dump(exclude={"execute", "candidates"})


def window_reward(
    codec: Codec, reward: RewardPart | TrajectoryRewardPart, value: Value | None = None, discount: float = 1.0
) -> Worth:
    """What normalised windows are worth.

    A window reward gives its own value. A step reward gives its discounted sum over tokens, the first of a token's
    actions standing for all, plus the discounted value of the last observation if a value is given.

    Args:
        codec: of the windows.
        reward: of windows or steps.
        value: of what comes after the window, for step rewards.
        discount: per environment step.
    """
    if isinstance(reward, WindowReward):
        return reward.on_windows
    assert isinstance(reward, RewardPart)
    # a token stands for `skip` steps, so that rewards and value are in one unit
    weight = codec.skip * discount ** (codec.skip * torch.arange(codec.tokens - 1, device=codec.mean.device))

    def worth(x: torch.Tensor) -> torch.Tensor:
        obs, acts = codec.decode(x)
        gained = reward(obs[:, :-1], acts[:, : -codec.skip : codec.skip], obs[:, 1:])
        total = gained @ weight.to(gained.dtype)
        if value is not None:
            total = total + discount ** (codec.length - codec.skip) * value(obs[:, -1])
        return torch.as_tensor(total)

    return worth


def by_columns(diffuser: Diffuser) -> Diffuser:
    """The same, its matrices in the order in which a processor multiplies a few dozen rows a third faster."""
    for layer in diffuser.modules():
        if isinstance(layer, torch.nn.Linear):
            layer.weight.data = layer.weight.data.t().contiguous().t()
    return diffuser


class Planner(PolicyPart):
    """Receding-horizon policy of a diffuser (Janner et al. 2022).

    With a reward alone, its gradient guides the sampling; with a value too, plans are sampled unguided and the best of
    the candidates is carried out.

    Args:
        diffuser: arguments of the :class:`Diffuser`.
        reward: ``{"part": key in Part.known, "arguments": {...}}``, or None to sample unguided.
        value: arguments of the :class:`Value`, or None.
        discount: of reward and value, per environment step.
        planning: a :class:`Planning` as plain values.
    """

    def __init__(
        self,
        diffuser: dict[str, Any],
        reward: dict[str, Any] | None,
        value: dict[str, Any] | None,
        discount: float,
        planning: dict[str, Any],
    ) -> None:
        super().__init__(diffuser=diffuser, reward=reward, value=value, discount=discount, planning=planning)
        self.diffuser = by_columns(Diffuser(**diffuser))
        self.reward = None if reward is None else Part.build(reward)
        self.value = None if value is None else Value(**value)
        self.discount, self.planning = discount, Planning(**planning)
        self._step = 0

    @staticmethod
    def of(
        planning: Planning,
        diffuser: Diffuser,
        reward: RewardPart | TrajectoryRewardPart | None = None,
        value: Value | None = None,
        discount: float = 1.0,
    ) -> "Planner":
        """A planner of given models, on the diffuser's device; on a processor it shares them.

        Raises:
            ValueError: ``planning.execute`` exceeds the window.
        """
        if planning.execute > diffuser.codec.tokens:
            raise ValueError(f"execute = {planning.execute} exceeds the window of {diffuser.codec.tokens} tokens")
        planner = Planner(
            diffuser=diffuser.arguments,
            reward=None if reward is None else reward.description(),
            value=None if value is None else value.arguments,
            discount=discount,
            planning=planning.model_dump(),
        )
        device = diffuser.codec.mean.device
        if device.type != "cpu":
            reward, value = copy.deepcopy(reward), copy.deepcopy(value)
        planner.diffuser, planner.reward, planner.value = by_columns(diffuser), reward, value
        planner.to(device)
        return planner

    def begin(self, n: int) -> None:
        self._step = 0

    def plan(self, obs: Floats, rng: np.random.Generator, watch: Watch | None = None) -> tuple[Floats, Floats]:
        """One window from each observation ``[n, O]``: observations ``[n, H, O]`` and actions ``[n, H*skip, A]``.

        ``watch`` is shown the reverse process, see :meth:`Diffuser.reverse`.
        """
        codec, p = self.diffuser.codec, self.planning
        seen = torch.tensor(obs, device=codec.mean.device).repeat_interleave(p.candidates, 0)
        noise = normal_noise(len(seen), codec, self.diffuser.steps + 1, rng)
        worth = None if self.reward is None else window_reward(codec, self.reward, self.value, self.discount)  # type: ignore[arg-type]
        guide = None
        if self.value is None and worth is not None:
            guide = self.reward.slope if isinstance(self.reward, WindowReward) else ascent(worth)
        x = self.diffuser.reverse(codec.first(seen), noise, guide, **p.sampling(), watch=watch)
        if worth is not None and p.candidates > 1:
            with torch.no_grad():
                best = worth(x).view(-1, p.candidates).argmax(1)
            x = x.view(-1, p.candidates, *x.shape[1:])[torch.arange(len(best)), best]
        planned, acts = codec.decode(x)
        return planned.cpu().numpy(), acts.cpu().numpy()

    def forward(self, obs: Floats, rng: np.random.Generator) -> Floats:
        span = self.planning.execute * self.diffuser.codec.skip
        if self._step % span == 0:
            self._acts = self.plan(obs, rng)[1]
        action = self._acts[:, self._step % span]
        self._step += 1
        return action
