"""Maximum-entropy inverse reinforcement learning from samples, with a soft policy kept near its optimum throughout."""

import numpy as np
import torch

from baselines._sac import SAC, Replay, SACConfig
from envs.problem import Problem
from methods.base import Config, Learned, Method
from methods.rewards import StepReward


class MaxEntConfig(Config):
    """Settings of MaxEnt IRL."""

    envs: int = 16
    steps_per_update: int = 12  # environment steps, over all copies, per update of the learner
    warm_up: int = 2_000  # environment steps of uniform actions
    lr: float = 6e-4
    batch: int = 128
    entropy_weight: float = 0.05
    target_rate: float = 0.01
    policy_hidden: tuple[int, int] = (64, 64)
    hidden: tuple[int, int] = (64, 64)  # of the reward
    reward_lr: float = 3e-4
    reward_batch: int = 256
    reward_every: int = 4  # updates of the learner per update of the reward
    recent: int = 30_000  # latest transitions that stand for the present policy
    output_penalty: float = 0.5
    gradient_penalty: float = 1.0


def reward_loss(
    reward: StepReward,
    expert: torch.Tensor,
    policy: torch.Tensor,
    config: MaxEntConfig,
    generator: torch.Generator,
) -> torch.Tensor:
    """Negative log-likelihood's sample estimate, whose gradient is E_policy[dr] - E_expert[dr], plus penalties.

    Args:
        reward: on observations alone.
        expert, policy: observations ``[n, O]`` of the demonstrations and of the present policy.
        config: weights of the penalties on outputs and on gradients steeper than one.
        generator: source of the points between both sets where the gradient is taken.

    Returns:
        scalar.

    Source: Ziebart et al. 2008; sample-based as in Finn et al. 2016, arXiv 1603.00448, eq. 2, sampled by the policy.
    """
    mix = torch.rand(len(expert), 1, generator=generator)
    between = (mix * expert + (1 - mix) * policy).requires_grad_()
    of_expert, of_policy, of_between = (reward(x, x, x) for x in (expert, policy, between))
    (slope,) = torch.autograd.grad(of_between.sum(), between, create_graph=True)
    steep = ((slope * reward.std).norm(dim=1) - 1).relu().square().mean()  # slope of what the perceptron reads
    size = (of_expert.square() + of_policy.square()).mean() / 2
    loss: torch.Tensor = of_policy.mean() - of_expert.mean() + config.output_penalty * size
    loss = loss + config.gradient_penalty * steep
    return loss


def fit(problem: Problem, config: MaxEntConfig, rng: np.random.Generator) -> Learned:
    """Alternates steps of the soft policy on the present reward with steps of the reward against the present policy."""
    c = config
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    torch.manual_seed(int(rng.integers(2**62)))  # initial weights of the reward
    env = problem.make_env(c.envs, rng)
    low, high = env.action_space.low, env.action_space.high
    seen = np.concatenate([x.obs.reshape(-1, x.obs.shape[-1]) for x in (problem.demos, problem.base)])
    mean, std = seen.mean(0), seen.std(0) + 1e-3
    learner = SACConfig(
        hidden=c.policy_hidden,
        discount=problem.discount,
        lr=c.lr,
        batch=c.batch,
        target_rate=c.target_rate,
        entropy_weight=c.entropy_weight,
    )
    sac = SAC(env.action_space, mean, std, learner, rng)
    reward = StepReward(len(mean), len(low), c.hidden)
    reward.mean.copy_(torch.from_numpy(mean))
    reward.std.copy_(torch.from_numpy(std))
    optimiser = torch.optim.Adam(reward.parameters(), lr=c.reward_lr)
    demos = torch.from_numpy(problem.demos.obs.reshape(-1, len(mean)).copy())

    total = problem.step_budget // c.envs * c.envs
    replay = Replay(total, len(mean), len(low))
    curve, rounds, over = [], 0, True
    marks = {round(k * total / 20) // c.envs * c.envs for k in range(1, 21)}
    for steps in range(0, total, c.envs):
        if over:
            obs = env.reset()
        acts = sac.act(obs) if steps >= c.warm_up else rng.uniform(low, high, (c.envs, len(low))).astype(np.float32)
        next_obs, over = env.step(acts)
        replay.add(obs, acts, next_obs)
        obs = next_obs
        if steps < c.warm_up:
            continue
        while sac.updates * c.steps_per_update < steps + c.envs - c.warm_up:
            if sac.updates % c.reward_every == 0:
                expert = demos[torch.randint(len(demos), (c.reward_batch,), generator=generator)]
                policy = replay.sample(c.reward_batch, generator, latest=c.recent)[0]
                loss = reward_loss(reward, expert, policy, c, generator)
                optimiser.zero_grad()
                loss.backward()
                optimiser.param_groups[0]["lr"] = c.reward_lr * (1 - steps / total)  # so that the policy can catch up
                optimiser.step()
                rounds += 1
            sac.update(replay, lambda obs, acts, next_obs, extra: reward(obs, acts, next_obs))
        if steps in marks and rounds:
            row = {"env_steps": steps, "gradient_steps": sac.updates + rounds, "reward_loss": float(loss.detach())}
            curve.append(row)
            problem.progress(steps / total, row)
    return Learned(sac.policy(), reward.eval(), "raw", curve, sac.updates + rounds)


METHOD = Method(
    name="maxent",
    title="MaxEnt IRL",
    source="Ziebart et al. 2008; sample-based: Finn et al. 2016, arXiv 1603.00448; Ni et al. 2020, arXiv 2011.04709",
    fit=fit,
    config=MaxEntConfig,
    tuned={
        "maze2d-large": {"policy_hidden": (128, 128), "steps_per_update": 20},
        "halfcheetah": {"policy_hidden": (128, 128), "steps_per_update": 16, "lr": 1e-3},
    },
    smoke={"warm_up": 1_000, "batch": 32, "reward_batch": 32, "policy_hidden": (32, 32)},
)
