"""f-IRL: the reward descends an f-divergence between the expert's and the policy's state distributions."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from baselines._adversary import discriminator_loss
from baselines._online import BY_HAND, SEARCH, SMOKE, OffPolicyConfig, moments, on_tensors, train, transitions
from baselines._sac import SAC, Replay
from envs.problem import Problem
from methods.base import Learned, Method, RewardPart
from methods.rewards import StepReward
from methods.tuned import tuned

Divergence = Literal["fkl", "rkl", "js"]


class FIRLConfig(OffPolicyConfig):
    """Settings of f-IRL.

    Args:
        divergence: forward or reverse Kullback-Leibler, or Jensen-Shannon.
        memory: rounds (one episode of every environment) whose episodes stand for the present policy.
        disc_updates, disc_batch, disc_lr, penalty: of the discriminator, per round.
        reward_updates, reward_lr, weight_decay: of the reward, per round.
        limit: the reward lies within plus and minus this.
    """

    divergence: Divergence = "js"
    hidden: tuple[int, ...] = (64, 64)
    memory: int = 2
    disc_updates: int = 50
    disc_batch: int = 512
    disc_lr: float = 1e-3
    penalty: float = 1.0
    reward_updates: int = 10
    reward_lr: float = 1e-3
    weight_decay: float = 1e-3
    limit: float = 10.0


class BoundedReward(RewardPart):
    """A perceptron on the state, cut at plus and minus ``limit``."""

    def __init__(self, obs: int, acts: int, hidden: tuple[int, ...], limit: float) -> None:
        super().__init__(obs=obs, acts=acts, hidden=list(hidden), limit=limit)
        self.net, self.limit = StepReward(obs, acts, hidden), limit

    def forward(self, obs: Tensor, acts: Tensor, next_obs: Tensor) -> Tensor:
        values: Tensor = self.net(obs, acts, next_obs)
        return values.clamp(-self.limit, self.limit)


def h(divergence: Divergence, log_ratio: Tensor) -> Tensor:
    """f(u) - u f'(u), up to a constant, at the density ratio u of expert to policy, given its logarithm."""
    if divergence == "rkl":
        return -log_ratio
    return -log_ratio.exp() if divergence == "fkl" else -softplus(log_ratio)


def covariance(weights: Tensor, rewards: Tensor, alpha: float) -> Tensor:
    """A function of the rewards whose gradient is that of the divergence.

    Args:
        weights: :func:`h` at each state of each episode, ``[N, T]``, no gradient.
        rewards: of the same states, ``[N, T]``.
        alpha: weight of the policy's entropy.

    Returns:
        scalar, the covariance over episodes of both sums, over alpha T.

    Source: Ni et al. 2020, arXiv 2011.04709, theorem on the analytic gradient (their section 4.1).
    """
    a, b = weights.sum(1), rewards.sum(1)
    return ((a * b).mean() - a.mean() * b.mean()) / (alpha * weights.shape[1])


def fit(problem: Problem, config: FIRLConfig, rng: np.random.Generator) -> Learned:
    """The reward follows the gradient of the divergence (Ni et al. 2020, algorithm 1) between the learner's updates.

    As the authors do, episodes of the expert join the policy's in the covariance, or it could not point to them.

    Args:
        problem: its demonstrations, and an environment within the step budget.
        config: settings.
        rng: decides all draws.

    Returns:
        the policy and the reward, of kind ``raw``.
    """
    c = config
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    torch.manual_seed(int(rng.integers(2**62)))  # initial weights
    normalisation = moments(problem)
    widths = problem.demos.obs.shape[-1], problem.demos.acts.shape[-1]
    reward, logit = BoundedReward(*widths, c.hidden, c.limit), StepReward(*widths, c.hidden)
    for net in (reward.net, logit):
        net.mean.copy_(torch.from_numpy(normalisation[0]))
        net.std.copy_(torch.from_numpy(normalisation[1]))
    telling = torch.optim.Adam(logit.parameters(), c.disc_lr)
    rewarding = torch.optim.AdamW(reward.parameters(), c.reward_lr, weight_decay=c.weight_decay)
    expert = logit.features(*transitions(problem))
    env = problem.make_env(c.envs, rng)
    sac = SAC(env.action_space, *normalisation, c.learner(problem.discount), rng)
    per_round = c.envs * problem.horizon
    so_far = {"rounds": 0, "made": 0, "divergence": 0.0}

    def improve(replay: Replay, done: float) -> dict[str, float]:
        if (rounds := replay.size // per_round) > so_far["rounds"]:
            steps = replay.latest(min(c.memory, rounds) * per_round + replay.size % per_round)
            policy = logit.features(*(x[: len(x) // per_round * per_round] for x in steps[:3]))
            for _ in range(c.disc_updates):
                chosen = [x[torch.randint(len(x), (c.disc_batch,), generator=generator)] for x in (expert, policy)]
                telling.zero_grad()
                loss = discriminator_loss(logit, chosen[0], chosen[1], c.penalty, generator)
                loss.backward()
                telling.step()
            own = policy.view(-1, problem.horizon, c.envs, policy.shape[1]).transpose(1, 2).flatten(0, 1)
            episodes = torch.cat([own, expert.view(-1, problem.horizon, policy.shape[1])])
            with torch.no_grad():
                weights = h(c.divergence, logit.net(episodes).squeeze(-1))
            for _ in range(c.reward_updates):
                rewarding.zero_grad()
                values = reward.net.net(episodes).squeeze(-1).clamp(-c.limit, c.limit)
                covariance(weights, values, sac.alpha).backward()
                rewarding.step()
            divergence = 1 - loss.item() / (2 * np.log(2))  # of Jensen and Shannon, in bits, from below
            made = so_far["made"] + c.disc_updates + c.reward_updates
            so_far.update(rounds=rounds, made=made, divergence=divergence)
        return {name: so_far[name] for name in ("rounds", "divergence")}

    parts = {"reward": reward, "logit": logit, "telling": telling, "rewarding": rewarding, "generator": generator}
    following = problem.progress, problem.checkpoint, {**parts, "so_far": so_far}
    curve = train(sac, env, c, problem.step_budget, rng, on_tensors(reward), improve, None, None, *following)
    return Learned(sac.policy(), reward.eval(), "raw", curve, sac.updates + int(so_far["made"]))


METHOD = Method(
    name="f-irl",
    title="f-IRL",
    source="Ni et al. 2020, f-IRL: Inverse RL via State Marginal Matching, arXiv 2011.04709",
    fit=fit,
    config=FIRLConfig,
    tuned=tuned("f-irl", BY_HAND),
    search=SEARCH
    | {
        "divergence": ["fkl", "rkl", "js"],
        "reward_lr": [3e-4, 1e-3, 3e-3],
        "reward_updates": [10, 30],
        "memory": [2, 5],
    },
    smoke=SMOKE | {"envs": 4, "disc_updates": 2, "reward_updates": 2},
)
