"""The game of GAIL and AIRL: imitation's discriminator against Stable-Baselines3's PPO, and its settings."""

from typing import Any

import numpy as np
import torch
from imitation.algorithms.adversarial.common import AdversarialTrainer
from imitation.data.rollout import TrajectoryAccumulator
from imitation.rewards.reward_nets import RewardNet
from imitation.util import networks
from stable_baselines3 import PPO
from stable_baselines3.common.policies import ActorCriticPolicy
from torch.optim.swa_utils import AveragedModel

from baselines._imitation import Batches, Silent, exported, moments, policy_kwargs
from envs.problem import Problem
from envs.vecenv import MeteredVecEnv
from methods.base import Config, RewardPart
from methods.policies import MLPPolicy
from methods.rewards import StepReward


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


class Between:
    """State of a trainer between two rounds, when imitation's wrappers hold nothing but the latest observation.

    Args:
        trainer: GAIL or AIRL with a PPO.
    """

    def __init__(self, trainer: AdversarialTrainer) -> None:
        self._trainer = trainer

    def _modules(self) -> dict[str, Any]:
        policy = self._trainer.gen_algo.policy
        found = {"policy": policy, "policy_optimiser": policy.optimizer}
        return found | {"reward": self._trainer._reward_net, "reward_optimiser": self._trainer._disc_opt}

    def state(self) -> dict[str, Any]:
        """All that :meth:`load` needs to go on bit by bit."""
        learner, memory = self._trainer.gen_algo, self._trainer._gen_replay_buffer._buffer
        found = {name: module.state_dict() for name, module in self._modules().items()}
        found |= {"steps": learner.num_timesteps, "obs": learner._last_obs, "starts": learner._last_episode_starts}
        found |= {"lengths": self._trainer.venv_buffering._timesteps, "filled": [memory._n_data, memory._idx]}
        return found | {"memory": {name: x for name, x in memory._arrays.items() if x.dtype != object}}

    def load(self, state: dict[str, Any]) -> None:
        """Takes up what :meth:`state` gave."""
        for name, module in self._modules().items():
            module.load_state_dict(state[name])
        learner, memory = self._trainer.gen_algo, self._trainer._gen_replay_buffer._buffer
        learner.num_timesteps, learner._last_obs = state["steps"], state["obs"]
        learner._last_episode_starts = state["starts"]
        memory._n_data, memory._idx = state["filled"]
        for name, values in state["memory"].items():
            memory._arrays[name][:] = values
        buffering = self._trainer.venv_buffering
        buffering._timesteps = state["lengths"]
        buffering._traj_accum = TrajectoryAccumulator()  # type: ignore[no-untyped-call]
        for key, obs in enumerate(state["obs"]):
            buffering._traj_accum.add_step({"obs": obs}, key)
        wrapped: Any = self._trainer.venv_wrapped
        wrapped._old_obs = state["obs"]


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
        average: share of the rounds, the last, over which the returned policy's weights are the mean: the game circles
            round its equilibrium. 0 returns the last policy.
        anneal: whether the step sizes of policy and discriminator fall linearly to 0: a steady game may leave the
            demonstrations again.
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
    average: float = 0.05
    anneal: bool = False


SEARCH: dict[str, list[Any]] = {
    "learning_rate": [3e-4, 5e-4, 1e-3],
    "discount": [0.95, 0.97, 0.98, 0.99],
    "entropy": [0.0, 1e-3, 1e-2, 3e-2],
    "steps": [16, 32, 64],
    "disc_learning_rate": [3e-4, 1e-3, 3e-3],
    "disc_updates": [1, 2, 4],
    "disc_weight_decay": [0.0, 0.3, 3.0],
    "memory": [1, 5, 20],
    "anneal": [False, True],
}

SMOKE = {"envs": 4, "steps": 16, "batch": 32, "epochs": 1, "disc_batch": 32, "disc_updates": 1}


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
    env = problem.make_env(config.envs, rng)
    venv = MeteredVecEnv(env)
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
    averaged = AveragedModel(learner.policy)
    kept = {"trainer": Between(trainer), "env": env, "demos": demos, "curve": curve, "averaged": averaged}
    for count in problem.checkpoint.loop("adversarial", rounds, **kept):  # as AdversarialTrainer.train
        done = count + 1
        if config.anneal:
            left = 1 - count / rounds
            learner.lr_schedule = lambda _, rate=config.learning_rate * left: rate  # type: ignore[misc]
            trainer._disc_opt.param_groups[0]["lr"] = config.disc_learning_rate * left
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
        if done == rounds or done > (1 - config.average) * rounds:
            averaged.update_parameters(learner.policy)
        problem.progress(done / rounds, curve[-1])
        problem.checkpoint.show(done / rounds, lambda: exported(learner.policy))
    updates = learner.policy.optimizer.state_dict()["state"][0]["step"]
    assert isinstance(averaged.module, ActorCriticPolicy)
    return exported(averaged.module), curve, int(updates) + rounds * config.disc_updates
