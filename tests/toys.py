"""Methods for tests of the harness: one that works, and one for each way to go wrong."""

import ctypes
import os
import subprocess
import sys
import time

import numpy as np
import torch
from threadpoolctl import threadpool_info

from envs.problem import Floats, Problem
from methods.base import Config, Learned, Method, PolicyPart, RewardPart
from methods.divergence import Diverged


class Constant(PolicyPart):
    def __init__(self, acts: int, value: float = 0.0) -> None:
        super().__init__(acts=acts, value=value)
        self.acts, self.value = acts, value

    def forward(self, obs: Floats, rng: np.random.Generator) -> Floats:
        return np.full((len(obs), self.acts), self.value, np.float32) + 0.1 * rng.standard_normal(
            (len(obs), self.acts)
        ).astype(np.float32)


class Linear(RewardPart):
    def __init__(self, obs: int, sign: float = 1.0) -> None:
        super().__init__(obs=obs, sign=sign)
        self.weight = torch.nn.Parameter(torch.zeros(obs))
        self.sign = sign

    def forward(self, obs: torch.Tensor, acts: torch.Tensor, next_obs: torch.Tensor) -> torch.Tensor:
        return self.sign * (next_obs @ self.weight)


class ToyConfig(Config):
    steps: int = 10
    scale: float = 1.0
    sleep: float = 0.0
    trace: str = ""


def learned(problem: Problem, config: ToyConfig, rng: np.random.Generator, value: float = 0.0) -> Learned:
    """Takes some steps and returns noise. Draws from global generators too, which the harness must therefore fix."""
    if config.trace:
        with open(config.trace, "a") as file:
            file.write(f"{os.getpid()}\n")
    env = problem.make_env(2, rng)
    env.reset()
    for step in range(config.steps):
        if env.step(rng.uniform(-1, 1, (2, *problem.action_space.shape)))[1]:
            env.reset()
        problem.progress(step / config.steps, {"step": step})
    time.sleep(config.sleep)
    reward = Linear(problem.demos.obs.shape[-1])
    with torch.no_grad():
        noise = torch.randn(len(reward.weight)) + float(rng.standard_normal()) + float(np.random.normal())  # noqa: NPY002
        reward.weight.copy_(config.scale * noise)
    curve = [{"env_steps": 2 * config.steps, "loss": 1.0}]
    return Learned(Constant(problem.action_space.shape[0], value), reward, "raw", curve, 1)


def proper(problem: Problem, config: ToyConfig, rng: np.random.Generator) -> Learned:
    """As :func:`learned`, but seeds what it draws from, as a method must."""
    torch.manual_seed(int(rng.integers(2**63)))
    np.random.seed(int(rng.integers(2**32)))  # noqa: NPY002
    return learned(problem, config, rng)


def raises(problem: Problem, config: ToyConfig, rng: np.random.Generator) -> Learned:
    raise ValueError("as intended")


def diverges(problem: Problem, config: ToyConfig, rng: np.random.Generator) -> Learned:
    raise Diverged("the loss rose", [{"gradient_steps": 1, "loss": 0.5}])


def exits(problem: Problem, config: ToyConfig, rng: np.random.Generator) -> Learned:
    sys.exit(3)


def exits_hard(problem: Problem, config: ToyConfig, rng: np.random.Generator) -> Learned:
    print("last words", file=sys.stderr, flush=True)
    os._exit(3)


def segfaults(problem: Problem, config: ToyConfig, rng: np.random.Generator) -> Learned:
    ctypes.string_at(0)
    raise AssertionError


def hangs(problem: Problem, config: ToyConfig, rng: np.random.Generator) -> Learned:
    time.sleep(600)
    raise AssertionError


def toils(problem: Problem, config: ToyConfig, rng: np.random.Generator) -> Learned:
    """Is busy for three seconds of the first core's time, however long that takes."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    while time.process_time() < 3:
        pass
    return Learned(Constant(problem.action_space.shape[0], 0.0), None, "none")


def chatters(problem: Problem, config: ToyConfig, rng: np.random.Generator) -> Learned:
    while True:
        problem.progress(0.5, {"loss": 1.0})


def hangs_with_child(problem: Problem, config: ToyConfig, rng: np.random.Generator) -> Learned:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with open(config.trace, "a") as file:
        file.write(f"{child.pid}\n")
    return hangs(problem, config, rng)


def eats_memory(problem: Problem, config: ToyConfig, rng: np.random.Generator) -> Learned:
    eaten = []
    for _ in range(200):
        eaten.append(np.ones(2**22))  # 32 MiB
        time.sleep(0.02)
    return hangs(problem, config, rng)


HOARD: list[np.ndarray] = []


def hoards(problem: Problem, config: ToyConfig, rng: np.random.Generator) -> Learned:
    """Leaves 256 MiB where nothing frees them, and a long curve."""
    HOARD.append(np.ones(2**25))
    curve = [{"gradient_steps": step, "loss": float(rng.random())} for step in range(10_000)]
    return Learned(Constant(problem.action_space.shape[0]), None, "none", curve)


def shares(problem: Problem, config: ToyConfig, rng: np.random.Generator) -> Learned:
    """Says that it is there, on which GPU and from where, waits for a second one like it, says that it goes."""

    def say(word: int) -> None:
        with open(config.trace, "a") as file:
            file.write(f"{word} {os.environ.get('CUDA_VISIBLE_DEVICES')} {__file__}\n")

    def there() -> int:
        with open(config.trace) as file:
            return sum(line.startswith("1") for line in file)

    say(1)
    until = time.monotonic() + config.sleep
    while there() < 2 and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.5)
    say(-1)
    return Learned(Constant(problem.action_space.shape[0]), None, "none")


def threads(problem: Problem, config: ToyConfig, rng: np.random.Generator) -> Learned:
    """Says on how many threads each numerical library computes."""
    found = [torch.get_num_threads(), *(library["num_threads"] for library in threadpool_info())]
    with open(config.trace, "a") as file:
        file.writelines(f"{number}\n" for number in found)
    return Learned(Constant(problem.action_space.shape[0]), None, "none")


def counts(problem: Problem, config: ToyConfig, rng: np.random.Generator) -> Learned:
    """A long loop that can be interrupted; leaves a line for every count."""
    so_far = {"sum": 0.0}
    for step in problem.checkpoint.loop("counts", config.steps, so_far=so_far):
        so_far["sum"] += float(rng.random()) + float(torch.rand(()))
        time.sleep(config.sleep)
        if config.trace:
            with open(config.trace, "a") as file:
                file.write(f"{step}\n")
        problem.progress((step + 1) / config.steps, {"sum": so_far["sum"]})
    # without a reward there is little to score; the policy depends on every draw
    return Learned(Constant(problem.action_space.shape[0], float(np.sin(so_far["sum"]))), None, "none")


def shows(problem: Problem, config: ToyConfig, rng: np.random.Generator) -> Learned:
    """Shows three policies on its way."""
    acts = problem.action_space.shape[0]
    for k in range(3):
        problem.checkpoint.show(k / 2, lambda value=k / 2: Constant(acts, value))
    return Learned(Constant(acts), None, "none")


def wide_policy(problem: Problem, config: ToyConfig, rng: np.random.Generator) -> Learned:
    found = learned(problem, config, rng)
    return Learned(Constant(problem.action_space.shape[0] + 1), found.reward, "raw")


def nan_policy(problem: Problem, config: ToyConfig, rng: np.random.Generator) -> Learned:
    return learned(problem, config, rng, float("nan"))


def nan_reward(problem: Problem, config: ToyConfig, rng: np.random.Generator) -> Learned:
    return learned(problem, ToyConfig(scale=float("nan")), rng)


def flat_reward(problem: Problem, config: ToyConfig, rng: np.random.Generator) -> Learned:
    return learned(problem, ToyConfig(scale=0.0), rng)


def greedy(problem: Problem, config: ToyConfig, rng: np.random.Generator) -> Learned:
    return learned(problem, ToyConfig(steps=problem.step_budget), rng)


def _toy(name: str, fit, **rest) -> Method:  # type: ignore[no-untyped-def]
    return Method(name=name, title=name, source="this project's tests", fit=fit, config=ToyConfig, **rest)


GOOD = _toy("toy-good", learned)
PROPER = _toy("toy-proper", proper)
RAISES = _toy("toy-raises", raises)
DIVERGES = _toy("toy-diverges", diverges)
EXITS = _toy("toy-exits", exits)
EXITS_HARD = _toy("toy-exits-hard", exits_hard)
SEGFAULTS = _toy("toy-segfaults", segfaults)
HANGS = _toy("toy-hangs", hangs)
TOILS = _toy("toy-toils", toils, recovers_reward=False)
HANGS_WITH_CHILD = _toy("toy-hangs-with-child", hangs_with_child)
EATS_MEMORY = _toy("toy-eats-memory", eats_memory)
HOARDS = _toy("toy-hoards", hoards, recovers_reward=False)
SHARES = _toy("toy-shares", shares, recovers_reward=False)
THREADS = _toy("toy-threads", threads, recovers_reward=False)
COUNTS = _toy("toy-counts", counts, recovers_reward=False)
SHOWS = _toy("toy-shows", shows, recovers_reward=False)
WIDE_POLICY = _toy("toy-wide-policy", wide_policy)
CHATTERS = _toy("toy-chatters", chatters)
NAN_POLICY = _toy("toy-nan-policy", nan_policy)
NAN_REWARD = _toy("toy-nan-reward", nan_reward)
FLAT_REWARD = _toy("toy-flat-reward", flat_reward)
GREEDY = _toy("toy-greedy", greedy)
MISSPELT = _toy("toy-misspelt", learned, tuned={"maze2d-umaz": {}})
SKIPS = _toy("toy-skips", learned, unsupported=lambda problem: "not for me")
