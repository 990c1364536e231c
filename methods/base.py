"""What a method is, and what it must return."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from safetensors.torch import load, save

from envs.problem import Floats, Problem, Trajectories

RewardKind = Literal["raw", "shaped", "trajectory", "none"]


class Config(BaseModel):
    """Base of a method's settings: frozen, unknown keys refused. The only home of a method's defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Part(torch.nn.Module):
    """A network that can be saved and rebuilt: its constructor takes plain JSON values only.

    A subclass passes them on by keyword, ``super().__init__(width=width)``. Weights and buffers go to safetensors,
    the values to JSON; nothing is pickled, and loading creates only classes that are defined as parts.

    Args:
        arguments: the constructor's, by keyword.
    """

    known: ClassVar[dict[str, type["Part"]]] = {}

    def __init__(self, **arguments: Any) -> None:
        super().__init__()
        self.arguments = json.loads(json.dumps(arguments))

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        Part.known[f"{cls.__module__}:{cls.__qualname__}"] = cls

    def description(self) -> dict[str, Any]:
        """Class and arguments as plain data; :meth:`build` makes the part again, weights apart."""
        return {"part": f"{type(self).__module__}:{type(self).__qualname__}", "arguments": self.arguments}

    @staticmethod
    def build(description: dict[str, Any]) -> "Part":
        """A part as described.

        Raises:
            ValueError: the description names no known part.
        """
        if description["part"] not in Part.known:
            raise ValueError(f"part {description['part']!r} is unknown; import the method that defines it first")
        return Part.known[description["part"]](**description["arguments"])

    def save(self, path: Path) -> None:
        """Writes ``path.json``, which holds a digest of the weights, and ``path.safetensors``."""
        weights = save({k: v.contiguous() for k, v in self.state_dict().items()})
        path.with_suffix(".safetensors").write_bytes(weights)
        described = {**self.description(), "sha256": hashlib.sha256(weights).hexdigest()}
        path.with_suffix(".json").write_text(json.dumps(described))

    @staticmethod
    def load(path: Path) -> "Part":
        """Rebuilds what :meth:`save` wrote under ``path``; weights of half precision are widened.

        Raises:
            ValueError: the file names no known part, or the weights are not those that were written with it.
        """
        described, weights = json.loads(path.with_suffix(".json").read_text()), path.with_suffix(".safetensors")
        content = weights.read_bytes()
        if described.get("sha256", digest := hashlib.sha256(content).hexdigest()) != digest:
            raise ValueError(f"{weights} was changed after it was written")
        part = Part.build(described)
        part.load_state_dict(load(content))
        return part.eval()


class PolicyPart(Part):
    """A policy of networks: ``forward(obs [n, O], rng) -> acts [n, A]`` on NumPy float32 arrays."""

    def begin(self, n: int) -> None:
        """A new batch of ``n`` episodes starts; policies without memory need nothing."""


class RewardPart(Part):
    """A reward per step: ``forward(obs [.., O], acts [.., A], next_obs [.., O]) -> [..]`` on tensors."""


class TrajectoryRewardPart(Part):
    """A reward of windows of :attr:`length` steps: ``forward(obs [n, length+1, O], acts [n, length, A]) -> [n]``."""

    length: int


@dataclass(frozen=True, eq=False)
class Learned:
    """What a method hands back. Everything in it can be saved; the harness scores it.

    Args:
        policy: the imitation, called on NumPy arrays.
        reward: the learnt reward, per step or per window; None if the method learns none.
        reward_kind: ``raw`` (the reward itself), ``shaped`` (contains a potential or discriminator logit),
            ``trajectory`` (of windows), ``none``.
        curve: rows of {name: number}; each row holds ``env_steps`` or ``gradient_steps``.
        gradient_steps: parameter updates made in all.
    """

    policy: PolicyPart
    reward: RewardPart | TrajectoryRewardPart | None
    reward_kind: RewardKind
    curve: list[dict[str, float]] = field(default_factory=list)
    gradient_steps: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.policy, PolicyPart):
            raise TypeError(f"policy is a {type(self.policy).__name__}; it must be a methods.base.PolicyPart")
        if self.reward_kind not in get_args(RewardKind):
            raise ValueError(f"reward_kind {self.reward_kind!r}: must be one of {', '.join(get_args(RewardKind))}")
        if (self.reward is None) != (self.reward_kind == "none"):
            raise ValueError(f"reward_kind {self.reward_kind!r} does not fit reward {self.reward!r}: 'none' means None")

    @torch.no_grad()
    def step_rewards(self, obs: Floats, acts: Floats, next_obs: Floats) -> Floats:
        """Learnt reward of each transition, float32 ``[n]``.

        Args:
            obs, next_obs: float32 ``[n, O]``.
            acts: float32 ``[n, A]``.

        Raises:
            TypeError: the reward is one of windows, or there is none.
        """
        if not isinstance(self.reward, RewardPart):
            raise TypeError(f"a reward of kind {self.reward_kind!r} has no value per step")
        tensors = [torch.tensor(x) for x in (obs, acts, next_obs)]
        return np.concatenate(
            [self.reward(*chunk).numpy() for chunk in zip(*(t.split(65536) for t in tensors), strict=True)]
        ).astype(np.float32)

    @torch.no_grad()
    def returns(self, trajectories: Trajectories) -> Floats:
        """Learnt undiscounted return of each episode, float32 ``[N]``; windows are summed without overlap.

        Args:
            trajectories: N episodes.

        Raises:
            TypeError: no reward was learnt.
        """
        n = len(trajectories)
        if isinstance(self.reward, TrajectoryRewardPart):
            pieces = trajectories.windows(self.reward.length)
            values = [
                self.reward(torch.tensor(pieces.obs[i : i + 4096]), torch.tensor(pieces.acts[i : i + 4096]))
                for i in range(0, len(pieces), 4096)
            ]
            return np.asarray(torch.cat(values).numpy().reshape(-1, n).sum(0), np.float32)
        return np.asarray(self.step_rewards(*trajectories.transitions()).reshape(n, -1).sum(1))

    def save(self, folder: Path) -> None:
        """Writes policy, reward and curve into an existing folder."""
        self.policy.save(folder / "policy")
        if self.reward is not None:
            self.reward.save(folder / "reward")
        rest = {"reward_kind": self.reward_kind, "curve": self.curve, "gradient_steps": self.gradient_steps}
        (folder / "learned.json").write_text(json.dumps(rest))

    @staticmethod
    def load(folder: Path) -> "Learned":
        """Reads what :meth:`save` wrote into ``folder``.

        Raises:
            ValueError: a part is unknown, or its weights were changed.
        """
        rest = json.loads((folder / "learned.json").read_text())
        reward = None if rest["reward_kind"] == "none" else Part.load(folder / "reward")
        return Learned(Part.load(folder / "policy"), reward, **rest)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Method:
    """A method as the harness finds it: a module-level ``METHOD``, or several in ``METHODS``.

    Args:
        name: as typed on the command line.
        title: as printed in tables.
        source: citation.
        fit: ``(problem, config, rng) -> Learned``; draws all randomness from ``rng``.
        config: class of the settings, defaults included.
        tuned: task name to settings that differ there.
        smoke: settings for a toy run of seconds.
        recovers_reward: whether it learns a reward.
        control: whether it is a yardstick, not a contestant; only controls get :class:`envs.problem.Privileged`.
        search: setting to the values that a tuning study tries, in order.
        unsupported: ``problem -> reason`` for problems it cannot take, else None.
    """

    name: str
    title: str
    source: str
    fit: Callable[[Problem, Any, np.random.Generator], Learned]
    config: type[Config] = Config
    tuned: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    smoke: Mapping[str, Any] = field(default_factory=dict)
    recovers_reward: bool = True
    control: bool = False
    search: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    unsupported: Callable[[Problem], str | None] = lambda problem: None

    def learn(self, problem: Problem, config: Config, rng: np.random.Generator) -> Learned:
        """What ``fit`` learns.

        Args:
            problem: all that the method may see.
            config: settings, of the class :attr:`config`.
            rng: source of all randomness.

        Raises:
            TypeError: it returned something else.
        """
        learned = self.fit(problem, config, rng)
        if not isinstance(learned, Learned):
            raise TypeError(f"fit returned a {type(learned).__name__}; it must return a methods.base.Learned")
        return learned
