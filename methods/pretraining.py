"""Base models: trained once per base data set and settings, kept in the cache or shipped with the project."""

import copy
import hashlib
import inspect
import json
import math
import os
import shutil
from pathlib import Path
from typing import Literal

import torch
from filelock import FileLock
from safetensors import SafetensorError

from envs.checkpoint import Checkpoint
from envs.datasets import cache_dir
from envs.problem import Problem
from envs.seeding import stream
from methods.base import Config, Part
from methods.diffuser import Diffuser, Network
from methods.divergence import Diverged, keep_some
from methods.windows import WindowSampler

SHIPPED = Path(__file__).parent / "pretrained"
LATER = {"octaves", "relative", "half", "network"}  # younger than shipped models, whose names are those without them


class BaseModel(Config):
    """Settings of a base diffusion model; together with the base data's id, but for the device, they are its identity.

    ``tokens`` x ``skip`` environment steps make a window; ``steps`` are diffusion steps; ``network``, ``width`` and
    ``blocks`` see :class:`methods.diffuser.Diffuser`. ``half`` multiplies in bfloat16: 0.6 of the time on a processor
    that knows it, more on others. ``device`` is where it is trained and where what builds on it learns and plans;
    ``auto`` is a GPU if the process sees one, and records say which it was.
    """

    tokens: int = 32
    skip: int = 4
    steps: int = 16
    network: Network = "mlp"
    width: int = 384
    blocks: int = 3
    octaves: int = 0
    relative: bool = False
    updates: int = 12_000
    batch: int = 256
    learning_rate: float = 1e-3
    ema: float = 0.999
    half: bool = False
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def place(self) -> torch.device:
        """Where ``device`` is on this machine.

        Raises:
            ValueError: a GPU is asked for, and the process sees none.
        """
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device = 'cuda': this process sees no GPU; take 'auto' or 'cpu', or give its cells one")
        return torch.device("cuda" if torch.cuda.is_available() and self.device != "cpu" else "cpu")


# one base model per task, shared by every method that needs one; windows as long as the model stays within the walls
BASE_MODELS = {
    "maze2d-umaze": BaseModel(tokens=32, updates=9000),
    "maze2d-large": BaseModel(tokens=16, updates=12_000, octaves=5, relative=True, half=True),
    "halfcheetah": BaseModel(tokens=4, skip=1, updates=8000),
}
# HalfCheetah's window is four actions, all carried out; no step is spared guidance there (as in the thesis) but the
# last, which has no variance
PLANNING = {"halfcheetah": {"execute": 4, "stop": 0}}
TUNED = {task: {"base": model.model_dump(), "planning": PLANNING.get(task, {})} for task, model in BASE_MODELS.items()}
TOY = BaseModel(tokens=4, skip=1, steps=4, width=32, blocks=1, updates=20, batch=16)  # for smoke tests


def key(problem: Problem, config: BaseModel) -> str:
    """Names a base model by the data it was trained on and its settings."""
    usual = {name: field.default for name, field in BaseModel.model_fields.items() if name in LATER}
    chosen = config.model_dump(exclude={"device"})
    settings = {name: value for name, value in chosen.items() if name not in LATER or value != usual[name]}
    described = json.dumps([problem.base_id, settings], sort_keys=True)
    return f"{problem.task}-{hashlib.sha256(described.encode()).hexdigest()[:12]}"


def base_model(problem: Problem, config: BaseModel) -> Diffuser:
    """The base model for these data and settings: shipped, cached, or trained now under a lock.

    Args:
        problem: its base trajectories and their id.
        config: settings.

    Returns:
        the diffuser, frozen, on its device.

    Raises:
        ValueError: the window does not fit the episodes, the model there is of another task, or there is no GPU.
        Diverged: the loss of training left all bounds; nothing is kept.
    """
    name, device = key(problem, config), config.place()
    if (SHIPPED / f"{name}.safetensors").exists():
        return _frozen(Part.load(SHIPPED / name), problem, SHIPPED / name).to(device)
    path = cache_dir() / name
    with FileLock(f"{path}.lock"):
        try:
            model = Part.load(path)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError):  # absent or damaged
            state = path.with_name(f"{name}.state")
            try:
                model = train(problem, config, state)
            except Diverged:
                shutil.rmtree(state, ignore_errors=True)  # nothing to go on from
                raise
            temporary = path.with_name(f"{name}-{os.getpid()}-tmp")
            model.save(temporary)
            for suffix in (".safetensors", ".json"):  # the description last: without it nothing is found
                os.replace(temporary.with_suffix(suffix), path.with_suffix(suffix))
            shutil.rmtree(state, ignore_errors=True)
        return _frozen(model, problem, path).to(device)


def _frozen(model: Part, problem: Problem, path: Path) -> Diffuser:
    assert isinstance(model, Diffuser)
    found, asked = (model.codec.obs, model.codec.acts), (problem.base.obs.shape[-1], problem.base.acts.shape[-1])
    if found != asked:
        raise ValueError(
            f"base model {path} was trained on another task: it has {found[0]} observations and {found[1]} actions, "
            f"{problem.task} has {asked[0]} and {asked[1]}; remove its two files and it is trained anew"
        )
    return model.eval().requires_grad_(False)


def ship(problem: Problem, config: BaseModel) -> Path:
    """Puts the base model, trained if need be, beside the code in half precision, where clones find it.

    Returns:
        the path of its weights.
    """
    SHIPPED.mkdir(exist_ok=True)
    path = SHIPPED / key(problem, config)
    model = copy.deepcopy(base_model(problem, config)).half()
    model.save(path)
    return path.with_suffix(".safetensors")


def train(problem: Problem, config: BaseModel, state: Path | None = None) -> Diffuser:
    """Fits the diffuser to random windows of the base data; weights are averaged over updates (EMA).

    Args:
        problem: its base trajectories and their id.
        config: settings.
        state: folder that keeps the training, so that it can go on after a kill; None keeps nothing.

    Raises:
        Diverged: the loss left all bounds.
    """
    rng = stream("base-model", problem.base_id, config.seed)
    torch.manual_seed(int(rng.integers(2**31)))
    o, a = problem.base.obs.shape[-1], problem.base.acts.shape[-1]
    model = Diffuser(obs=o, acts=a, **config.model_dump(include=set(inspect.signature(Diffuser).parameters)))
    sampler = WindowSampler(problem.base, model.codec.length, rng)
    model.codec.fit(problem.base)
    model.to(config.place())
    averaged = copy.deepcopy(model)
    optimiser = torch.optim.Adam(model.parameters(), config.learning_rate)
    decay = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda k: 0.5 * (1 + math.cos(math.pi * k / config.updates)) if k > 200 else (k + 1) / 200
    )
    curve: list[dict[str, float]] = []
    remedy = f"lower base.learning_rate ({config.learning_rate:g})"
    kept = {"net": model, "averaged": averaged, "optimiser": optimiser, "decay": decay, "curve": curve}
    for update in Checkpoint(state, rng).loop("base", config.updates, **kept):
        x0 = model.codec.encode(*sampler.draw(config.batch))
        loss = model.descend(x0, optimiser, decay, rng, config.half)
        averaged.follow(model, min(config.ema, (update + 1) / (update + 10)))
        keep_some(curve, update, config.updates, "base_loss", loss, remedy)
        if update % 500 == 0:
            problem.progress(0.0, {"base updates": update, "base loss": loss})
    if not all(weights.isfinite().all() for weights in averaged.parameters()):  # by the last update
        raise Diverged(f"weights of the base model are not finite, base_loss {loss:.3g} before: {remedy}", curve)
    return averaged
