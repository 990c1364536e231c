"""The same work on a GPU, if there is one: is it what a processor does, how long, and the roofline."""

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from baselines.diffusion_bc import METHOD as BC
from benchmark.perf import Row, allowed, cost
from benchmark.perf.gradient import ACTS, BATCH, GUIDED, OBS, STEP, STEPS, TOKENS, UNET, GradientStep
from benchmark.perf.planning import STARTS, guided
from envs.maze2d import UMAZE_TASK
from envs.metered import Meter
from envs.problem import Problem, Trajectories
from methods.diffuser import Diffuser
from methods.diffusion_irl import METHODS as THESIS
from methods.graphs import captured
from methods.planner import Planner
from methods.value_irl import METHODS as VALUE

NETWORKS: dict[str, dict[str, Any]] = {"default base network": {}, "thesis' U-Net": UNET}
CARDS = {  # operations per second in single precision and bfloat16, bytes per second (NVIDIA's data sheets, SXM)
    "H100 80GB HBM3": (67e12, 989e12, 3.35e12),
    "H200": (67e12, 989e12, 4.8e12),
}
APART, LEARNT_APART = 1e-3, 0.05  # allowed differences; Adam's first updates are signs, whatever a gradient's size
OF_LARGEST = "of the largest value"


def seconds(work: Callable[[], object], times: int = 5) -> float:
    """Wall seconds until the GPU is done, the least of some goes after one that warms up."""
    spent = []
    for _ in range(times + 1):
        torch.cuda.synchronize()
        began = time.perf_counter()
        work()
        torch.cuda.synchronize()
        spent.append(time.perf_counter() - began)
    return min(spent[1:])


def apart(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference, in units of the largest value."""
    return float((ours.cpu() - theirs).abs().max() / theirs.abs().max())


def moved(step: GradientStep) -> float:
    """Bytes that the denoiser keeps for the way back, weights included, moved once each way at every step."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    x, at = step.target.clone().requires_grad_(), torch.zeros(BATCH, dtype=torch.long, device=step.target.device)
    halved = torch.autocast(x.device.type, torch.bfloat16, step.sampling["bfloat16"])
    with halved, saved_tensors_hooks(keep, lambda t: t):
        made = step.model.requires_grad_(False).denoised(x, at)
    return 2.0 * STEPS * sum(kept.values()) + made.nbytes


def parity(network: str, cpu: GradientStep, gpu: GradientStep) -> Iterator[Row]:
    """Samples and gradient of both, on the same noise, in single precision."""
    both = (gpu, cpu)
    samples = [step.model.reverse(step.target[:, 0, :OBS], step.noise, step.reward.slope, **GUIDED) for step in both]
    slopes = [torch.cat([slope.flatten() for slope in step.ours()[1] if slope is not None]) for step in both]
    for what, found in (("guided samples", samples), ("a reward gradient", slopes)):
        yield allowed(f"Difference of {what}, GPU and processor, {network}", apart(*found), OF_LARGEST, APART)


def walks(seed: int, speed: float) -> Trajectories:
    """Random walks in two dimensions."""
    rng = np.random.default_rng(seed)
    acts = rng.normal(speed, 1, (40, 50, 2)).astype(np.float32)
    return Trajectories(np.pad(np.cumsum(acts, 1), ((0, 0), (1, 0), (0, 0))), acts)


def learning() -> Iterator[Row]:
    """Whole methods, from training the base model to plans, on made-up walks and on both devices."""
    for method in (THESIS[1], VALUE[0], BC):
        plans = []
        for device in ("cuda", "cpu"):
            problem = Problem(
                task="made-up",
                demos=walks(0, 1.0),
                base=walks(1, 0.0),
                base_id="made-up walks",
                observation_space=Box(-np.inf, np.inf, (2,)),
                action_space=Box(-1, 1, (2,)),
                horizon=50,
                discount=0.99,
                meter=Meter(0),
                base_env=UMAZE_TASK.make_env,
            )
            config = method.config(**{**method.smoke, "base": {**method.smoke["base"], "device": device}})
            with TemporaryDirectory() as cache, patch.dict(os.environ, {"IRLBENCH_CACHE": cache}):
                policy = method.learn(problem, config, np.random.default_rng(0)).policy
            assert isinstance(policy, Planner)
            plans.append(torch.tensor(policy.plan(np.zeros((STARTS, 2), np.float32), np.random.default_rng(1))[0]))
        name = f"Difference of plans after learning {method.title} in a few updates, GPU and processor"
        yield allowed(name, apart(*plans), OF_LARGEST, LEARNT_APART)


def steps(network: str, settings: dict[str, Any]) -> Iterator[Row]:
    """A reward-gradient step launched kernel by kernel, as one graph, and as a graph of compiled kernels."""
    card = torch.cuda.get_device_name()
    cpu, gpu = GradientStep(settings), GradientStep(settings, device="cuda")
    yield from parity(network, cpu, gpu)
    began = time.process_time()
    cpu.ours()
    alone, operations = time.process_time() - began, gpu.operations()
    for compiled, bfloat16 in ((False, False), (False, True), (True, True)):
        step = GradientStep(settings, bfloat16, "cuda")
        bytes_ = moved(step)
        if compiled:
            step.model.net = torch.compile(step.model.net)  # type: ignore[assignment]
        replayed = captured(step.work(), step.target, *step.noise)
        ways: dict[str, Callable[[], object]] = {} if compiled else {"kernel by kernel": step.ours}
        ways["one graph"] = partial(replayed, step.target, *step.noise)
        for way, work in ways.items():
            kind = f"{'compiled, ' if compiled else ''}{way}, {'bfloat16' if bfloat16 else 'float32'}"
            name, took = STEP.format(f"{network}, {card}, {kind}"), seconds(work)
            yield cost(name, took, "s", alone, "the processor's one thread, float32")
            if limits := next((found for key, found in CARDS.items() if key in card), None):
                floor = max(operations / limits[bfloat16], bytes_ / limits[2])
                yield cost(name, took, "s", floor, f"roofline: {operations / 1e9:.0f} GFLOP, {bytes_ / 1e9:.2f} GB")


def updates(network: str, settings: dict[str, Any], batch: int) -> Iterator[Row]:
    """One update of a base model in training."""
    took = []
    for device in ("cuda", "cpu"):
        model = Diffuser(obs=OBS, acts=ACTS, tokens=TOKENS, skip=1, steps=STEPS, **settings).to(device)
        optimiser = torch.optim.Adam(model.parameters())
        schedule = torch.optim.lr_scheduler.ConstantLR(optimiser, 1.0)
        x0, rng = torch.randn(batch, TOKENS, OBS + ACTS, device=device), np.random.default_rng(0)
        took.append(seconds(partial(model.descend, x0, optimiser, schedule, rng), 3))
    name = f"Base-model update, {network}, H={TOKENS}, batch {batch}"
    yield cost(name, took[0], "s", took[1], "the processor's one thread")


def planning() -> Iterator[Row]:
    """Guided plans from many starts at once, at the shapes of U-Maze's base model."""
    planner, starts, rng = guided()
    alone, took = (seconds(partial(planner.to(device).plan, starts, rng), 3) for device in ("cpu", "cuda"))
    name = f"Guided planning from {STARTS} starts, GPU"
    yield cost(name, took, "s", alone, "the processor's one thread")


def measure() -> Iterator[Row]:
    """Nothing without a GPU."""
    if not torch.cuda.is_available():
        return
    torch.backends.cudnn.allow_tf32 = False  # single precision means it
    yield from learning()
    yield from planning()
    yield from updates("default base network", {}, 256)
    yield from updates("thesis' U-Net", UNET, 32)
    for network, settings in NETWORKS.items():
        yield from steps(network, settings)
