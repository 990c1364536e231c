"""The recipe of the stored HalfCheetah policies: one soft actor-critic run, kept at several levels.

It may use the task's true reward, as any maker of demonstrations does; no method sees anything of it.
"""

import hashlib
import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from baselines._online import THE_EXTRA, Progress
from baselines._sac import SAC, Replay, SACConfig
from benchmark.references import true_returns
from envs import halfcheetah
from envs.checkpoint import Checkpoint
from envs.datasets import truth_dir
from envs.problem import Policy
from envs.rollout import rollout
from envs.seeding import seed_of, stream
from results.store import write_whole

LEVELS: Mapping[str, float] = {"medium-low": 3_000, "medium": 4_500}  # mean return to reach
EPISODES = 20  # per measurement


@dataclass(frozen=True)
class Recipe:
    """Settings of the run; the stored policies name them."""

    envs: int = 16
    updates_per_step: int = 4  # critic updates per step of all environments
    warm_up: int = 5_000  # environment steps of uniform actions
    replay: int = 1_000_000
    updates: int = 500_000
    decay_from: float = 0.7  # of the updates; from there the learning rate falls linearly ..
    decay_to: float = 0.1  # .. to this part of itself
    measure_every: int = 3  # episodes
    compiled: bool = True  # by torch.compile: half as fast again, but needs a C++ compiler
    # observations are divided by: height, pitch, joint angles; forward, vertical and pitch velocity, joint velocities
    obs_scale: tuple[float, ...] = (0.2, 0.5, *[0.5] * 6, 3.0, 2.0, 3.0, *[10.0] * 6)


RECIPE, CONFIG = Recipe(), SACConfig()


def returns(policy: Policy, starts: NDArray[np.float64]) -> NDArray[np.float64]:
    """True undiscounted returns of one episode from each start, float64 ``[n]``."""
    run = rollout(halfcheetah.make_env(len(starts)), policy, starts, np.random.default_rng(0))
    return true_returns(halfcheetah.TASK, run)


def measured(policy: Policy, draws: str) -> dict[str, NDArray[np.float64]]:
    """The :func:`returns` from :data:`EPISODES` starts of each kind, by the name that records give them."""
    kinds = (halfcheetah.upright, halfcheetah.thrown)
    return {f"return_{k.__name__}": returns(policy, k(EPISODES, stream("experts", draws, k.__name__))) for k in kinds}


def keep(path: Path, sac: SAC, seed: int, recipe: Recipe, curve: list[dict[str, float]]) -> None:
    """Writes the present policy and how it came about: ``path`` and the JSON beside it."""
    weights = {k: v.numpy() for k, v in sac.policy().state_dict().items()}
    content = save({k: v.astype(np.float16) if k.startswith("net.") else v for k, v in weights.items()})
    described = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "algorithm": "soft actor-critic on the true reward; the policy is the actor's mean",
        "seed": seed,
        "recipe": asdict(recipe),
        "config": sac.config.model_dump(),
        "versions": {name: version(name) for name in ("torch", "mujoco", "gymnasium", "numpy")},
        "curve": curve,
    }
    write_whole(path.with_suffix(".json"), json.dumps(described).encode())
    write_whole(path, content)


def run(seed: int, config: SACConfig, recipe: Recipe, folder: Path, progress: Progress) -> Iterator[None]:
    """The training run, an episode of every environment at a time; it goes on where its last checkpoint stood.

    Keeps in ``folder`` the first policy at each level and, as ``best``, the best of all.
    """
    began, rng, env = time.process_time(), stream("experts", seed), halfcheetah.make_env(recipe.envs)
    sac = SAC(env.action_space, [0.0] * len(recipe.obs_scale), recipe.obs_scale, config, rng)
    if recipe.compiled:
        sac.compile()
    replay, curve = Replay(recipe.replay, len(recipe.obs_scale), 6), list[dict[str, float]]()
    steps = math.ceil(recipe.warm_up / recipe.envs) - 1 + math.ceil(recipe.updates / recipe.updates_per_step)
    episodes, checkpoint = math.ceil(steps / env.horizon), Checkpoint(folder, rng)
    for episode in checkpoint.loop("run", episodes, sac=sac, replay=replay, curve=curve):
        obs = env.reset(rng)
        for step in range(episode * env.horizon + 1, (episode + 1) * env.horizon + 1):
            states, warm = env.states, (step - 1) * recipe.envs >= recipe.warm_up
            acts = sac.act(obs) if warm else rng.uniform(-1, 1, (recipe.envs, 6)).astype(np.float32)
            next_obs = env.step(acts)
            replay.add(obs, acts, next_obs, halfcheetah.reward(states, acts, env.states).astype(np.float32))
            obs = next_obs
            if step * recipe.envs >= recipe.warm_up:
                done = sac.updates / recipe.updates
                fall = max(0.0, min(1.0, (done - recipe.decay_from) / (1 - recipe.decay_from)))
                sac.learning_rate(config.lr * (1 - fall * (1 - recipe.decay_to)))
                for _ in range(recipe.updates_per_step):
                    sac.update(replay, THE_EXTRA)
        if (episode + 1) % recipe.measure_every == 0 or episode + 1 == episodes:
            spent = round(time.process_time() - began + checkpoint.before[1], 1)
            row = {"env_steps": step * recipe.envs, "updates": sac.updates, "cpu_seconds": spent, "alpha": sac.alpha}
            row |= {name: round(float(found.mean()), 1) for name, found in measured(sac.policy(), "curve").items()}
            best, now = max((old["return_upright"] for old in curve), default=-np.inf), row["return_upright"]
            curve.append(row)
            reached = [level for level, target in LEVELS.items() if best < target <= now]
            for name in [*reached, *["best"] * (now > best)]:
                keep(folder / f"{name}.safetensors", sac, seed, recipe, curve)
            progress(sac.updates / recipe.updates, row)
        yield


def publish(name: str, snapshot: Path, out: Path) -> dict[str, Any]:
    """Measures a snapshot on fresh starts and writes it as ``halfcheetah-<name>.safetensors`` and ``.json``.

    Returns what the JSON holds.
    """
    out.mkdir(parents=True, exist_ok=True)
    described: dict[str, Any] = {"name": name}
    for kind, found in measured(halfcheetah.StoredPolicy(snapshot), "fresh").items():
        mean, std = round(float(found.mean()), 1), round(float(found.std(ddof=1)), 1)
        described[kind] = {"mean": mean, "std": std, "episodes": EPISODES}
    described |= json.loads(snapshot.with_suffix(".json").read_text())
    path = out / f"halfcheetah-{name}.safetensors"
    write_whole(path, snapshot.read_bytes())
    text = json.dumps(described, indent=1)
    row_per_line = re.sub(r"\n {3,}|\n  (?=[]}])", " ", text)  # of the curve
    write_whole(path.with_suffix(".json"), f"{row_per_line}\n".encode())
    return described


def train_policy(
    name: str,
    seed: int,
    out: Path,
    progress: Progress = lambda fraction, values: None,
    config: SACConfig = CONFIG,
    recipe: Recipe = RECIPE,
) -> dict[str, Any]:
    """Trains until the level ``name`` is reached, or for ``expert`` to the end of the recipe, and writes the policy.

    The run keeps the first policy at each level on its way and the best of all. One that was interrupted goes on from
    its checkpoint in the cache folder when called again with the same arguments.

    ``progress`` is called once per measurement with (fraction of the updates, the curve's row). Returns what the JSON
    beside the weights holds.

    Raises:
        RuntimeError: the recipe ended below the level.
    """
    settings = json.dumps([config.model_dump(), asdict(recipe)])
    folder = truth_dir() / f"experts-{seed_of(settings):016x}-seed{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = folder / f"{'best' if name == 'expert' else name}.safetensors"
    if name == "expert" or not wanted.exists():
        for _ in run(seed, config, recipe, folder, progress):
            if name != "expert" and wanted.exists():
                break
    if not wanted.exists():
        raise RuntimeError(f"the run ended below {LEVELS[name]:.0f}, the level of {name!r}: raise the recipe's updates")
    return publish(name, wanted, out)
