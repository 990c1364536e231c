"""The tasks as Gymnasium environments, true reward included, for use outside the harness: methods never get these.

``gymnasium.make("envs.registered:irlbench/Maze2D-UMaze-v0")`` imports this module, which registers all of :data:`IDS`.
"""

import atexit
import importlib
import os
import sys
from ctypes.util import find_library
from typing import Any

import gymnasium
import mujoco
import numpy as np
from numpy.typing import NDArray

from envs import halfcheetah, maze2d
from envs.problem import Floats

WORDS = {"maze2d": "Maze2D", "umaze": "UMaze", "halfcheetah": "HalfCheetah", "nodwell": "NoDwell"}
_TASKS = {task.name: task for task in (maze2d.UMAZE_TASK, maze2d.LARGE_TASK, *maze2d.TASKS, halfcheetah.TASK)}
HEIGHT, WIDTH = 480, 640  # pixels
BACK_ENDS = ("egl", "osmesa", "glfw")


class NoOpenGL(RuntimeError):
    """Nothing here can render."""


class Camera:
    """Renders a model off-screen: from its own first camera, or from above where it has none.

    OpenGL is what ``MUJOCO_GL`` names; where it is not set, on Linux Mesa in software if it is installed, else EGL.

    Raises:
        NoOpenGL: none of them works here.
    """

    def __init__(self, model: mujoco.MjModel) -> None:
        if name := os.environ.get("MUJOCO_GL"):
            tried: tuple[str, ...] = (name,)
        elif sys.platform != "linux":
            tried = ("glfw",)
        else:
            tried = (*["osmesa"] * bool(find_library("OSMesa")), "egl")
        errors = []
        for name in tried:
            try:
                if name not in BACK_ENDS:
                    raise ImportError(f"it must be one of {', '.join(BACK_ENDS)}")
                self._gl = importlib.import_module(f"mujoco.{name}").GLContext(WIDTH, HEIGHT)
                self._gl.make_current()
                self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_150)
                break
            except Exception as error:  # each library fails in ways of its own
                errors.append(f"{name}: {type(error).__name__}: {error}")
        else:
            raise NoOpenGL(
                f"nothing renders here ({'; '.join(errors)}): install Mesa (Debian: libosmesa6) and leave MUJOCO_GL "
                f"unset, or set it to egl where there is a GPU"
            )
        atexit.register(self.close)  # OpenGL's libraries take themselves down after this, whose __del__ would then fail
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._model, self._scene, self._view = model, mujoco.MjvScene(model, 1000), mujoco.MjvCamera()
        self._pixels, self._shown = np.zeros((HEIGHT, WIDTH, 3), np.uint8), mujoco.MjrRect(0, 0, WIDTH, HEIGHT)
        if model.ncam:
            self._view.type, self._view.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, 0
        else:
            walls = model.geom_pos[model.geom_type == mujoco.mjtGeom.mjGEOM_BOX]
            low, high = walls.min(0) - 0.5, walls.max(0) + 0.5
            self._view.lookat[:], self._view.distance = (low + high) / 2, 1.3 * (high - low).max()
            self._view.azimuth, self._view.elevation = 180.0, -90.0  # rows of the layout down, columns across

    def photograph(self, state: NDArray[np.float64]) -> NDArray[np.uint8]:
        """A state ``[S]`` as pixels ``[HEIGHT, WIDTH, 3]``."""
        data = mujoco.MjData(self._model)
        data.qpos[:], data.qvel[:] = np.split(state, [self._model.nq])
        mujoco.mj_forward(self._model, data)
        self._gl.make_current()
        every = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(self._model, data, mujoco.MjvOption(), None, self._view, every, self._scene)
        mujoco.mjr_render(self._shown, self._scene, self._context)
        mujoco.mjr_readPixels(self._pixels, None, self._shown, self._context)
        return self._pixels[::-1].copy()

    def close(self) -> None:
        """Frees what OpenGL holds; done at exit where nobody asks."""
        atexit.unregister(self.close)
        self._context.free()
        del self._gl


class TaskEnv(gymnasium.Env[Floats, Floats]):
    """One task, with its true reward. Its end is the time limit that :func:`gymnasium.make` adds; nothing else ends it.

    Args:
        task: its name.
        render_mode: None or ``rgb_array``.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012  # as Gymnasium declares it

    def __init__(self, task: str, render_mode: str | None = None) -> None:
        self._task = _TASKS[task]
        self._env = self._task.make_env(1)
        self.observation_space, self.action_space = self._env.observation_space, self._env.action_space
        seconds = self._env.model.opt.timestep * self._env.frame_skip
        self.metadata = {**self.metadata, "render_fps": round(1 / seconds)}
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode {render_mode!r}: it must be None or 'rgb_array'")
        self.render_mode, self._camera = render_mode, Camera(self._env.model) if render_mode else None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Floats, dict[str, Any]]:
        """Starts an episode where training episodes of the task start, or at ``options["state"]``, float64 ``[S]``."""
        super().reset(seed=seed)
        if options and "state" in options:
            return self._env.reset_to(np.asarray(options["state"])[None])[0], {}
        return self._env.reset(self.np_random)[0], {}

    def step(self, action: Floats) -> tuple[Floats, float, bool, bool, dict[str, Any]]:
        """One step; ``info["state"]`` is where it led, float64 ``[S]``."""
        before = self._env.states
        obs, state = self._env.step(np.asarray(action)[None])[0], self._env.states
        acts = np.clip(action, self.action_space.low, self.action_space.high)  # type: ignore[attr-defined]
        return obs, float(self._task.reward(before, acts[None], state)[0]), False, False, {"state": state[0]}

    def render(self) -> NDArray[np.uint8] | None:  # type: ignore[override]
        """The present state as pixels, uint8 ``[480, 640, 3]``; None without ``render_mode="rgb_array"``."""
        return self._camera.photograph(self._env.states[0]) if self._camera else None

    def close(self) -> None:
        """Frees what rendering holds."""
        if self._camera:
            self._camera.close()
            self._camera = None


def id_of(task: str) -> str:
    """``irlbench/Maze2D-UMaze-v0`` of ``maze2d-umaze``."""
    return f"irlbench/{'-'.join(WORDS.get(word, word.title()) for word in task.split('-'))}-v0"


IDS = {id_of(name): name for name in _TASKS}
for _id, _name in IDS.items():
    if _id not in gymnasium.registry:
        _limit = _TASKS[_name].horizon
        gymnasium.register(_id, f"{__name__}:{TaskEnv.__name__}", max_episode_steps=_limit, kwargs={"task": _name})
