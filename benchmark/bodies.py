"""Pixels of a body at given poses, by MuJoCo's own renderer in a process of its own.

OpenGL may be missing, and its drivers may crash: neither may take a finished run with it. Rendering is off-screen, by
Mesa in software where that is installed (Debian: ``libosmesa6``), else by EGL; ``MUJOCO_GL`` decides where it is set.
"""

import os
import subprocess
import sys
import tempfile
from ctypes.util import find_library
from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
SIZE = 72, 84  # pixels down and across
DISTANCE, HEIGHT, ELEVATION = 2.2, 0.55, -6.0  # of the camera in metres and degrees, for a body a metre high
TIMEOUT_S = 60.0


def photographs(model: mujoco.MjModel, poses: NDArray[np.float64]) -> NDArray[np.uint8] | None:
    """The body at each pose, seen from the side by a camera that moves along.

    Args:
        model: of the body.
        poses: float64 ``[N, nq]``.

    Returns:
        uint8 ``[N, height, width, 3]``; None where nothing could be rendered.
    """
    back_end = "osmesa" if find_library("OSMesa") else "egl"
    given = {"MUJOCO_GL": back_end, **os.environ} if sys.platform == "linux" else None
    with tempfile.TemporaryDirectory() as folder:
        mujoco.mj_saveModel(model, str(Path(folder, "model.mjb")), None)
        np.save(Path(folder, "poses.npy"), poses)
        try:
            command = [sys.executable, "-m", "benchmark.bodies", folder]
            subprocess.run(command, env=given, cwd=ROOT, check=True, capture_output=True, timeout=TIMEOUT_S)
            found: NDArray[np.uint8] = np.load(Path(folder, "pixels.npy"), allow_pickle=False)
        except (OSError, subprocess.SubprocessError):
            return None
    return found


def render(folder: Path) -> None:
    """Reads ``model.mjb`` and ``poses.npy`` in ``folder``, writes ``pixels.npy``."""
    model = mujoco.MjModel.from_binary_path(str(folder / "model.mjb"))
    model.tex_data[:] = 255  # plain ground and sky: what counts is the body
    model.mat_reflectance[:] = 0
    data, frames = mujoco.MjData(model), []
    camera = mujoco.MjvCamera()
    camera.distance, camera.azimuth, camera.elevation = DISTANCE, 90.0, ELEVATION
    renderer = mujoco.Renderer(model, *SIZE)
    renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
    for pose in np.load(folder / "poses.npy", allow_pickle=False):
        data.qpos[:] = [0, *pose[1:]]  # back over the ground, which is bounded, from wherever it ran
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)
        camera.lookat[:] = [*data.xpos[1, :2], HEIGHT]
        renderer.update_scene(data, camera)
        frames.append(renderer.render().copy())
    np.save(folder / "pixels.npy", np.stack(frames))


if __name__ == "__main__":
    render(Path(sys.argv[1]))
