"""Work that a GPU records once and replays: small batches then cost their kernels, not the launching of them."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def captured(work: Callable[..., T], *example: Tensor) -> Callable[..., T]:
    """``work`` as one CUDA graph where the examples lie on a GPU; elsewhere ``work`` itself.

    Args:
        work: of tensors like the examples; must not wait for the GPU, and returns all that it makes. What it returns is
            overwritten by the next call.
        example: decide shapes and device.
    """
    if example[0].device.type != "cuda":
        return work
    held = [x.clone() for x in example]
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):  # libraries choose their kernels and take memory before the recording
        for _ in range(2):
            work(*held)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        made = work(*held)

    def replayed(*given: Tensor) -> T:
        for mine, theirs in zip(held, given, strict=True):
            mine.copy_(theirs)
        graph.replay()
        return made

    return replayed
