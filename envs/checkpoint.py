"""Long loops that go on where they were, so that what a killed run has done is not done again."""

import copy
import json
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from envs.metered import Meter

EVERY = 30.0  # seconds between two writings at least; 0 writes after every count
AT_MOST = 50.0  # and at most, so that a kill costs less than a minute
SHORT = 1.0  # seconds; a loop that took less is run again rather than written down


class Interrupted(BaseException):
    """The run was asked to stop, and its state is written: it can go on from here."""


class Asked:
    """What the harness asks of the runs of this process.

    ``to_stop`` where they can go on from; ``look`` is called with each policy shown, at nobody's cost.
    """

    def __init__(self) -> None:
        self.to_stop = False
        self.look: Callable[[Any], None] | None = None


ASKED = Asked()


def _pack(value: Any, arrays: dict[str, torch.Tensor]) -> Any:
    """``value`` as JSON, its arrays put into ``arrays``."""
    name = str(len(arrays))
    if isinstance(value, torch.Tensor):
        arrays[name] = value.detach().cpu().clone().contiguous()
        return {"tensor": name}
    if isinstance(value, np.ndarray):
        arrays[name] = torch.from_numpy(np.frombuffer(value.tobytes(), np.uint8).copy())
        return {"array": name, "dtype": value.dtype.str, "shape": value.shape}
    if isinstance(value, Mapping):
        return {"items": [[key, _pack(inner, arrays)] for key, inner in value.items()]}
    if isinstance(value, list | tuple):
        return [_pack(inner, arrays) for inner in value]
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a checkpoint holds tensors, arrays and plain values, no {type(value).__name__}")


def _unpack(packed: Any, arrays: Mapping[str, torch.Tensor]) -> Any:
    if isinstance(packed, list):
        return [_unpack(inner, arrays) for inner in packed]
    if not isinstance(packed, dict):
        return packed
    if "tensor" in packed:
        return arrays[packed["tensor"]]
    if "array" in packed:
        return np.frombuffer(arrays[packed["array"]].numpy().tobytes(), packed["dtype"]).reshape(packed["shape"]).copy()
    return {key: _unpack(inner, arrays) for key, inner in packed["items"]}


def _state(part: Any) -> Any:
    if isinstance(part, torch.Generator):
        return part.get_state()
    if isinstance(part, np.random.Generator):
        return part.bit_generator.state
    if hasattr(part, "state_dict"):
        return part.state_dict()
    return part if isinstance(part, list | dict) else part.state()


def _load(part: Any, state: Any) -> None:
    if isinstance(part, torch.Generator):
        part.set_state(state)
    elif isinstance(part, np.random.Generator):
        part.bit_generator.state = state
    elif hasattr(part, "load_state_dict"):
        part.load_state_dict(state)
    elif isinstance(part, list):
        part[:] = state
    elif isinstance(part, dict):
        part.clear()
        part.update(state)
    else:
        part.load(state)


class Checkpoint:
    """Keeps the state of a run's loops on disk: safetensors and JSON, never a pickle.

    Global random generators, ``rng`` and the count of environment steps are kept along with what each loop names.

    Args:
        folder: where; None keeps nothing.
        rng: the run's generator.
        meter: counts the run's environment steps.
        build: makes a shown policy again from its ``description()``; None forgets what was shown before a kill.
    """

    def __init__(
        self,
        folder: Path | None = None,
        rng: np.random.Generator | None = None,
        meter: Meter | None = None,
        build: Callable[[Any], Any] | None = None,
    ) -> None:
        self._folder, self._rng, self._meter, self._build = folder, rng, meter, build
        self._began, self._cpu = time.monotonic(), time.process_time()
        self._due = self._began + EVERY
        self._show_from, self.shown = 0.0, list[tuple[float, int, Any]]()  # CPU seconds, environment steps, policies
        self.before = (0.0, 0.0)  # wall and CPU seconds that the runs before this one had spent on what was loaded
        self.aside = 0.0  # CPU seconds of looking at policies on the way

    def show(self, fraction: float, policy: Callable[[], Any]) -> None:
        """Shows the policy of the moment, to measure how soon it was good; about one in an eighth of the run is kept.

        Args:
            fraction: of the run that is done, in [0, 1].
            policy: gives the policy, which may change afterwards.
        """
        if fraction >= self._show_from:
            self._show_from = fraction + 1 / 8
            began = time.process_time()
            seconds = began - self._cpu + self.before[1]
            with torch.random.fork_rng(devices=[]):  # whether it is shown changes nothing
                self.shown.append((seconds, self._meter.used if self._meter else 0, copy.deepcopy(policy())))
                if ASKED.look is not None:
                    ASKED.look(self.shown[-1][2])
            spent = time.process_time() - began
            self.aside, self._cpu = self.aside + spent, self._cpu + spent

    def loop(self, name: str, total: int, **parts: Any) -> Iterator[int]:
        """Counts from 0 to ``total - 1``, or from where a killed run left off, the parts then being as they were.

        Bit by bit the same as without a kill, if the parts are all that changes from one count to the next. Where
        :data:`ASKED` says so, the loop ends with :class:`Interrupted` once its state is written.

        Args:
            name: of the loop; no other of the run may have it.
            total: counts in all.
            parts: modules, optimisers, schedules, generators, lists and dictionaries (both changed in place), or what
                has ``state()`` and ``load(state)``. None is left out.

        Raises:
            Interrupted: the run was asked to stop; what it has is kept.
        """
        if self._folder is None:
            yield from range(total)
            return
        parts = {key: part for key, part in parts.items() if part is not None}
        path = self._folder / f"{name}.safetensors"
        done, began = self._read(path, parts), time.monotonic()
        for count in range(done, total):
            yield count
            now = time.monotonic()
            if now >= self._due or ASKED.to_stop or (count + 1 == total and now - began >= SHORT):
                self._write(path, count + 1, parts)
            if ASKED.to_stop:
                raise Interrupted

    def _write(self, path: Path, done: int, parts: Mapping[str, Any]) -> None:
        began = time.monotonic()
        spent = began - self._began + self.before[0], time.process_time() - self._cpu + self.before[1]
        state: dict[str, Any] = {"done": done, "parts": {key: _state(part) for key, part in parts.items()}}
        state |= {"spent": spent, "used": self._meter and self._meter.used, "rng": self._rng and _state(self._rng)}
        state["torch"], state["numpy"] = torch.get_rng_state(), np.random.get_state(legacy=False)  # noqa: NPY002
        state["python"] = random.getstate()
        shown = [(*cost, policy.description(), policy.state_dict()) for *cost, policy in self.shown if self._build]
        state |= {"shown": shown, "show_from": self._show_from}
        arrays: dict[str, torch.Tensor] = {}
        packed = _pack(state, arrays)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file(arrays, temporary, {"state": json.dumps(packed)})
            os.replace(temporary, path)
        except (OSError, SafetensorError):  # a full disk costs the safety, not the run
            with suppress(OSError):
                temporary.unlink()
        now = time.monotonic()
        # writing takes a twentieth of the time, unless it is so slow that a kill would cost too much
        self._due = now + (min(max(EVERY, 20 * (now - began)), AT_MOST) if EVERY else 0)

    def _read(self, path: Path, parts: Mapping[str, Any]) -> int:
        """Puts the parts where they were; returns the counts done, 0 where nothing (readable) stands."""
        try:
            with safe_open(path, "pt") as file:
                arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # no dictionary
                state = _unpack(json.loads(file.metadata()["state"]), arrays)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError):  # absent or damaged
            return 0
        for key, part in parts.items():
            _load(part, state["parts"][key])
        if self._build is not None:
            self._show_from, self.shown = state["show_from"], []
            for seconds, steps, description, weights in state["shown"]:
                self.shown.append((seconds, steps, self._build(description)))
                self.shown[-1][2].load_state_dict(weights)
        # last, for what was built above has drawn from them
        if self._rng is not None:
            _load(self._rng, state["rng"])
        if self._meter is not None:
            self._meter.resume(state["used"])
        torch.set_rng_state(state["torch"])
        np.random.set_state(state["numpy"])  # noqa: NPY002
        version, words, gauss = state["python"]
        random.setstate((version, tuple(words), gauss))
        self.before = (max(self.before[0], state["spent"][0]), max(self.before[1], state["spent"][1]))
        return int(state["done"])
