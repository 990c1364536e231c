"""The recipe of the stored HalfCheetah policies: one soft actor-critic run, kept at several levels.

It may use the task's true reward, as any maker of demonstrations does; no method sees anything of it.
"""

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save as save_arrays
from safetensors.torch import load_file
from safetensors.torch import save as save_tensors

from baselines._sac import SAC, Replay, SACConfig
from envs import halfcheetah
from envs.datasets import truth_dir
from envs.problem import Policy
from envs.rollout import rollout
from envs.seeding import seed_of, stream
from methods.policies import MLPPolicy

LEVELS: Mapping[str, float] = {"medium-low": 3_000, "medium": 4_500}  # mean return to reach
EPISODES = 20  # per measurement
CHECKPOINT_SECONDS = 40
Progress = Callable[[float, dict[str, float]], None]


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


def write(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def returns(policy: Policy, starts: NDArray[np.float64]) -> NDArray[np.float64]:
    """True undiscounted returns of one episode from each start, float64 ``[n]``."""
    run = rollout(halfcheetah.make_env(len(starts)), policy, starts, np.random.default_rng(0))
    found: NDArray[np.float64] = halfcheetah.reward(run.states[:, :-1], run.trajectories.acts, run.states[:, 1:]).sum(1)
    return found


class Run:
    """A training run that goes on where its last checkpoint stood.

    Args:
        seed: decides everything but speed.
        config, recipe: settings.
        folder: of checkpoint and snapshots.
    """

    def __init__(self, seed: int, config: SACConfig, recipe: Recipe, folder: Path) -> None:
        self.seed, self.config, self.recipe, self.folder = seed, config, recipe, folder
        self._rng = stream("experts", seed)
        self._env = halfcheetah.make_env(recipe.envs)
        scale = recipe.obs_scale
        self._sac = SAC(self._env.action_space, [0.0] * len(scale), scale, config, self._rng)
        if recipe.compiled:
            self._sac.compile()
        self._replay = Replay(recipe.replay, len(scale), 6)
        self.env_steps, self.episodes, self.cpu_seconds = 0, 0, 0.0
        self.curve: list[dict[str, float]] = []
        folder.mkdir(parents=True, exist_ok=True)
        self._load()

    @property
    def done(self) -> bool:
        """Whether all updates are made."""
        return self._sac.updates >= self.recipe.updates

    def episode(self) -> None:
        """One episode in every environment, with its updates."""
        began = time.process_time()
        r = self.recipe
        obs = self._env.reset(self._rng)
        for _ in range(halfcheetah.HORIZON):
            states = self._env.states
            if self.env_steps < r.warm_up:
                acts = self._rng.uniform(-1, 1, (r.envs, 6)).astype(np.float32)
            else:
                acts = self._sac.act(obs)
            next_obs = self._env.step(acts)
            rewards = halfcheetah.reward(states, acts, self._env.states).astype(np.float32)
            self._replay.add(obs, acts, next_obs, rewards)
            obs = next_obs
            self.env_steps += r.envs
            if self.env_steps >= r.warm_up:
                done = self._sac.updates / r.updates
                fall = max(0.0, min(1.0, (done - r.decay_from) / (1 - r.decay_from)))
                self._sac.learning_rate(self.config.lr * (1 - fall * (1 - r.decay_to)))
                for _ in range(r.updates_per_step):
                    self._sac.update(self._replay, lambda obs, acts, next_obs, true_reward: true_reward)
        self.episodes += 1
        self.cpu_seconds += time.process_time() - began

    def measure(self) -> dict[str, float]:
        """Adds a row to the curve: mean returns of the actor's mean from upright and from thrown starts."""
        row = {
            "env_steps": self.env_steps,
            "updates": self._sac.updates,
            "cpu_seconds": round(self.cpu_seconds, 1),
            "alpha": self._sac.alpha,
        }
        for kind in (halfcheetah.upright, halfcheetah.thrown):
            found = returns(self.policy(), kind(EPISODES, stream("experts", "curve", kind.__name__)))
            row[f"return_{kind.__name__}"] = round(float(found.mean()), 1)
        self.curve.append(row)
        return row

    def policy(self) -> MLPPolicy:
        """The present actor's mean."""
        return self._sac.policy()

    def save(self) -> None:
        """Checkpoint: everything needed to go on bit by bit, in one file."""
        tensors = {f"sac.{k}": v for k, v in self._sac.state().items()}
        tensors |= {f"replay.{k}": v for k, v in self._replay.state().items()}
        rest = {
            "rng": self._rng.bit_generator.state,
            "env_steps": self.env_steps,
            "episodes": self.episodes,
            "cpu_seconds": self.cpu_seconds,
            "curve": self.curve,
        }
        write(self.folder / "checkpoint.safetensors", save_tensors(tensors, {"rest": json.dumps(rest)}))

    def _load(self) -> None:
        path = self.folder / "checkpoint.safetensors"
        if not path.exists():
            return
        tensors = load_file(path)

        def part(prefix: str) -> dict[str, Any]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        self._sac.load(part("sac."))
        self._replay.load(part("replay."))
        with safe_open(path, "pt") as file:
            rest = json.loads(file.metadata()["rest"])
        self._rng.bit_generator.state = rest["rng"]
        self.env_steps, self.episodes = rest["env_steps"], rest["episodes"]
        self.cpu_seconds, self.curve = rest["cpu_seconds"], rest["curve"]

    def keep(self, name: str) -> None:
        """Writes the present policy and how it came about: ``<name>.safetensors``, ``<name>.json``."""
        weights = {k: v.numpy() for k, v in self.policy().state_dict().items()}
        weights = {k: v.astype(np.float16) if k.startswith("net.") else v for k, v in weights.items()}
        content = save_arrays(weights)
        described = {
            "sha256": hashlib.sha256(content).hexdigest(),
            "algorithm": "soft actor-critic on the true reward; the policy is the actor's mean",
            "seed": self.seed,
            "recipe": asdict(self.recipe),
            "config": self.config.model_dump(),
            "versions": {name: version(name) for name in ("torch", "mujoco", "gymnasium", "numpy")},
            "curve": self.curve,
        }
        write(self.folder / f"{name}.safetensors", content)
        write(self.folder / f"{name}.json", json.dumps(described).encode())


def publish(name: str, snapshot: Path, out: Path) -> dict[str, Any]:
    """Measures a snapshot on fresh starts and writes it as ``halfcheetah-<name>.safetensors`` and ``.json``.

    Args:
        name: what the policy shall be called.
        snapshot: path of a ``.safetensors`` that :func:`train_policy` kept, its ``.json`` beside it.
        out: folder of the policy files.

    Returns:
        what the JSON holds.
    """
    out.mkdir(parents=True, exist_ok=True)
    described: dict[str, Any] = {"name": name}
    for kind in (halfcheetah.upright, halfcheetah.thrown):
        found = returns(halfcheetah.StoredPolicy(snapshot), kind(EPISODES, stream("experts", "fresh", kind.__name__)))
        described[f"return_{kind.__name__}"] = {
            "mean": round(float(found.mean()), 1),
            "std": round(float(found.std(ddof=1)), 1),
            "episodes": EPISODES,
        }
    described |= json.loads(snapshot.with_suffix(".json").read_text())
    path = out / f"halfcheetah-{name}.safetensors"
    write(path, snapshot.read_bytes())
    text = json.dumps(described, indent=1)
    write(
        path.with_suffix(".json"), (re.sub(r"\n {3,}|\n  (?=[]}])", " ", text) + "\n").encode()
    )  # a row of the curve per line
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

    Args:
        name: a key of :data:`LEVELS`, or ``expert``.
        seed: >= 0.
        out: folder of the policy files.
        progress: called once per measurement with (fraction of the updates, the curve's row).
        config, recipe: settings.

    Returns:
        what the JSON beside the weights holds.

    Raises:
        ValueError: unknown name.
        RuntimeError: the recipe ended below the level.
    """
    if name not in (*LEVELS, "expert"):
        raise ValueError(f"policy {name!r} is unknown: choose from {', '.join((*LEVELS, 'expert'))}")
    settings = json.dumps([config.model_dump(), asdict(recipe)])
    run = Run(seed, config, recipe, truth_dir() / f"experts-{seed_of(settings):016x}-seed{seed}")
    wanted = run.folder / f"{'best' if name == 'expert' else name}.safetensors"
    saved = time.monotonic()
    while not run.done and (name == "expert" or not wanted.exists()):
        run.episode()
        if run.episodes % recipe.measure_every == 0 or run.done:
            best = max((row["return_upright"] for row in run.curve), default=-np.inf)
            row = run.measure()
            for level, target in LEVELS.items():
                if best < target <= row["return_upright"]:
                    run.keep(level)
            if row["return_upright"] > best:
                run.keep("best")
            progress(row["updates"] / recipe.updates, row)
        if time.monotonic() - saved > CHECKPOINT_SECONDS or run.done:
            run.save()
            saved = time.monotonic()
    if not wanted.exists():
        raise RuntimeError(f"the run ended below {LEVELS[name]:.0f}, the level of {name!r}: raise the recipe's updates")
    return publish(name, wanted, out)
