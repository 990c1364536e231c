"""What BC, GAIL and AIRL share: the ``imitation`` library and Stable-Baselines3's PPO on our types."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box
from imitation.algorithms.adversarial.common import AdversarialTrainer
from imitation.data.types import TransitionMapping
from imitation.rewards.reward_nets import RewardNet
from imitation.util import networks
from imitation.util.logger import HierarchicalLogger
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from envs.problem import Floats, Problem, Trajectories
from envs.vecenv import MeteredVecEnv
from methods.base import Config, RewardPart
from methods.policies import MLPPolicy
from methods.rewards import StepReward


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
        # demonstrations end at the time limit, which is no terminal state
        self._data = {"obs": obs, "acts": acts, "next_obs": next_obs, "dones": np.zeros(len(acts), bool)}

    def __iter__(self) -> Iterator[TransitionMapping]:
        order = self._rng.permutation(len(self._data["acts"]))
        for start in range(0, len(order) - self.size + 1, self.size):
            chosen = order[start : start + self.size]
            batch: Any = {key: value[chosen] for key, value in self._data.items()}
            yield batch


def normalised(reward: StepReward, problem: Problem) -> StepReward:
    """``reward`` reading observations standardised on the demonstrations: fine where they are dense, e.g. at a goal."""
    for buffer, value in zip((reward.mean, reward.std), moments(problem.demos.obs), strict=True):
        buffer.copy_(torch.as_tensor(value))
    return reward


class StepRewardNet(RewardNet):
    """Our reward per step as imitation's reward network; the end of an episode (a time limit) plays no part in it.

    Args:
        reward: what it computes.
        problem: gives the spaces.
    """

    def __init__(self, reward: RewardPart, problem: Problem) -> None:
        super().__init__(problem.observation_space, problem.action_space)
        self.reward = reward

    def forward(
        self, state: torch.Tensor, action: torch.Tensor, next_state: torch.Tensor, done: torch.Tensor
    ) -> torch.Tensor:
        value: torch.Tensor = self.reward(state, action, next_state)
        return value


class AdversarialConfig(Config):
    """Settings of GAIL and AIRL.

    Args:
        envs: environments stepped together.
        steps: steps of each between two updates; one round is ``envs * steps`` environment steps.
        hidden: hidden layers of policy and value function.
        log_std: initial logarithm of the policy's standard deviation.
        learning_rate, batch, epochs, discount, gae_lambda, clip, entropy: PPO's.
        reward_hidden: hidden layers of the discriminator's networks.
        disc_learning_rate, disc_weight_decay, disc_batch: the discriminator's AdamW; as many demonstration as
            generator steps in a batch.
        disc_updates: discriminator updates per round.
        memory: rounds whose generator steps the discriminator is trained on.
    """

    envs: int = 64
    steps: int = 64
    hidden: tuple[int, ...] = (64, 64)
    log_std: float = -0.5
    learning_rate: float = 5e-4
    batch: int = 256
    epochs: int = 8
    discount: float = 0.97
    gae_lambda: float = 0.95
    clip: float = 0.2
    entropy: float = 1e-3
    reward_hidden: tuple[int, ...] = (64, 64)
    disc_learning_rate: float = 1e-3
    disc_weight_decay: float = 0.0
    disc_batch: int = 512
    disc_updates: int = 4
    memory: int = 5


def train(
    problem: Problem,
    config: AdversarialConfig,
    trainer_class: type[AdversarialTrainer],
    reward_net: RewardNet,
    rng: np.random.Generator,
) -> tuple[MLPPolicy, list[dict[str, float]], int]:
    """Plays PPO against a discriminator until the step budget holds no further round.

    Args:
        problem: what is posed.
        config: settings.
        trainer_class: imitation's ``GAIL`` or ``AIRL``.
        reward_net: the discriminator's network, trained in place.
        rng: source of all randomness.

    Returns:
        the policy, one row per round (discriminator statistics are of its last update), parameter updates made.

    Raises:
        ValueError: the budget does not hold one round.
    """
    per_round = config.envs * config.steps
    rounds = problem.step_budget // per_round
    if rounds == 0:
        raise ValueError(
            f"step budget {problem.step_budget} is below one round of {config.envs} envs * {config.steps} steps: "
            f"raise the budget, or lower envs or steps"
        )
    venv = MeteredVecEnv(problem.make_env(config.envs, rng))
    learner = PPO(
        "MlpPolicy",
        venv,
        learning_rate=config.learning_rate,
        n_steps=config.steps,
        batch_size=min(config.batch, per_round),
        n_epochs=config.epochs,
        gamma=config.discount,
        gae_lambda=config.gae_lambda,
        clip_range=config.clip,
        ent_coef=config.entropy,
        policy_kwargs=policy_kwargs(*moments(problem.base.obs, problem.demos.obs), config.hidden, config.log_std),
        seed=int(rng.integers(2**31)),
        device=problem.device,
    )
    demos = Batches(problem.demos, config.disc_batch, rng)
    trainer = trainer_class(
        demonstrations=demos,
        demo_batch_size=demos.size,
        venv=venv,
        gen_algo=learner,
        reward_net=reward_net,
        disc_opt_cls=torch.optim.AdamW,
        disc_opt_kwargs={"lr": config.disc_learning_rate, "weight_decay": config.disc_weight_decay},
        gen_replay_buffer_capacity=config.memory * per_round,
        custom_logger=Silent(),
    )
    curve: list[dict[str, float]] = []
    for done in range(1, rounds + 1):  # AdversarialTrainer.train, but with its statistics and without its progress bar
        trainer.train_gen()
        with networks.training(trainer.reward_train):
            for _ in range(config.disc_updates):
                stats = trainer.train_disc()
        curve.append(
            {
                "env_steps": done * per_round,
                "disc_loss": stats["disc_loss"],
                "disc_accuracy": stats["disc_acc"],
                "learnt_reward": float(learner.rollout_buffer.rewards.mean()),
                "policy_std": float(learner.policy.log_std.detach().exp().mean()),
            }
        )
        problem.progress(done / rounds, curve[-1])
    updates = learner.policy.optimizer.state_dict()["state"][0]["step"]
    return exported(learner.policy), curve, int(updates) + rounds * config.disc_updates
