"""What a reward is worth to whoever optimises it: the true score of a fresh agent trained on it alone.

In the task's own dynamics and, where the task names some, in changed ones; beside the same agent trained on the true
reward of observations, which is trained once for each task, seed and budget. The agent's settings were chosen by that
reference agent's true return: they serve the yardstick, and no method sees them.
"""

import hashlib
import shutil
from collections.abc import Callable

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray

from baselines._online import OffPolicyConfig, optimise, silent
from benchmark.metrics import normalized
from benchmark.pose import Posed
from benchmark.provenance import code_hash
from benchmark.references import kept, true_returns
from benchmark.reward_quality import Finding
from envs.checkpoint import Checkpoint
from envs.datasets import truth_dir, write_arrays
from envs.metered import Meter, MeteredEnv
from envs.physics import BatchEnv
from envs.problem import Policy, Task, Trajectories
from envs.rollout import Uniform, rollout
from envs.seeding import stream
from methods.base import Learned, RewardPart
from methods.controls import GivenReward
from results.schema import Spread

AGENT = OffPolicyConfig(policy_hidden=(128, 128), steps_per_update=4, lr=1e-3)


class Standardised(RewardPart):
    """A reward less its mean, in units of its standard deviation on given transitions.

    The agent weighs its entropy against the reward: without this, the scale of a reward would count.

    Args:
        reward: the reward; not saved with the part.
        data: episodes that give mean and deviation.
    """

    def __init__(self, reward: RewardPart, data: Trajectories) -> None:
        super().__init__()
        self._reward = reward
        with torch.no_grad():
            columns = [torch.tensor(x) for x in data.transitions()]
            values = torch.cat([reward(*part) for part in zip(*(x.split(65536) for x in columns), strict=True)])
        self._mean, self._scale = float(values.mean()), float(values.std()) or 1.0

    def forward(self, obs: torch.Tensor, acts: torch.Tensor, next_obs: torch.Tensor) -> torch.Tensor:
        value: torch.Tensor = (self._reward(obs, acts, next_obs) - self._mean) / self._scale
        return value


def agent(
    task: Task,
    make_env: Callable[[int], BatchEnv],
    reward: RewardPart,
    data: Trajectories,
    steps: int,
    seed: int,
    checkpoint: Checkpoint,
    suffix: str,
) -> Policy:
    """A fresh soft actor-critic after ``steps`` environment steps on one reward.

    Args:
        task: for name and discount.
        make_env: ``n -> BatchEnv``, the dynamics.
        reward: of steps.
        data: episodes that give scales of observations and reward.
        steps: environment steps.
        seed: of the cell; the same draws for every reward.
        checkpoint: keeps the training, so that it can go on after a kill.
        suffix: of the place, to tell its training from others.
    """
    rng = stream("reoptimise", task.name, seed)
    env = MeteredEnv(make_env(AGENT.envs), Meter(steps), rng)
    flat = data.obs.reshape(-1, data.obs.shape[-1])
    moments = flat.mean(0), flat.std(0) + 1e-3
    following = silent, checkpoint, f"reoptimise{suffix}"
    trained, _ = optimise(env, Standardised(reward, data), moments, task.discount, AGENT, steps, rng, *following)
    return trained.policy()


def places(task: Task) -> dict[str, tuple[Callable[[int], BatchEnv], NDArray[np.float64]]]:
    """Dynamics and evaluation starts, by suffix of the metrics."""
    found = {"": (task.make_env, np.concatenate([task.seen_starts, task.unseen_starts]))}
    return found | ({"_changed": (task.changed.make_env, task.changed.starts)} if task.changed else {})


def earned(task: Task, suffix: str, policy: Policy, seed: int) -> float:
    """Mean true return of a policy in one of the :func:`places`."""
    make_env, starts = places(task)[suffix]
    run = rollout(make_env(len(starts)), policy, starts, stream("reoptimised", task.name, seed))
    return float(true_returns(task, run).mean())


def yardsticks(task: Task, suffix: str, data: Trajectories, steps: int, seed: int, code: str) -> tuple[float, float]:
    """Mean true return of random actions and of the agent on the true reward; kept, for they are many cells'."""
    name = hashlib.sha256(f"{code}{suffix}{steps}{seed}{data.content_hash()}".encode()).hexdigest()[:16]
    path = truth_dir() / f"{task.name}-reoptimised-{name}.npz"
    with FileLock(f"{path}.lock"):
        if (found := kept(path)) is None:
            state, make_env = path.with_suffix(".state"), places(task)[suffix][0]
            true = GivenReward(task.observed_reward)
            trained = agent(task, make_env, true, data, steps, seed, Checkpoint(state), suffix)
            found = {
                "random": np.array(earned(task, suffix, Uniform(task.make_env(1).action_space), seed)),
                "agent": np.array(earned(task, suffix, trained, seed)),
            }
            write_arrays(path, **found)
            shutil.rmtree(state, ignore_errors=True)
        return float(found["random"]), float(found["agent"])


def reoptimised(task: Task, learned: Learned, posed: Posed, steps: int, seed: int, task_module: str) -> list[Finding]:
    """Scores of fresh agents on a learnt reward.

    Args:
        task: the task, true reward included.
        learned: what the method returned; not None where a reward is asked for.
        posed: what it was posed.
        steps: environment steps of each agent.
        seed: of the cell.
        task_module: where the task stands.
    """
    if not isinstance(learned.reward, RewardPart):
        reason = "there is no reward" if learned.reward is None else "the agent needs a reward of single steps"
        return [Finding("reoptimised_score", None, reason, None)]
    found, code = [], code_hash("benchmark.reoptimise", task_module)
    for suffix, (make_env, starts) in places(task).items():
        random, reference = yardsticks(task, suffix, posed.problem.base, steps, seed, code)
        given = learned.reward, posed.problem.base, steps, seed, posed.problem.checkpoint, suffix
        value = earned(task, suffix, agent(task, make_env, *given), seed)
        spread = Spread(n=len(starts))
        worse = "the agent on the true reward is no better than random actions"
        found += [
            Finding(f"reoptimised_return{suffix}", value, "", spread),
            Finding(f"reoptimised_reference{suffix}", reference, "", spread),
            Finding(f"reoptimised_score{suffix}", normalized(value, random, reference), worse, spread),
        ]
    return found
