"""A step of training, and training that went wrong: a loss that left the finite or rose tenfold."""

import math

import torch

# a loss 10 times the largest of the first 10 ends the run; until these are known, for batches differ, one 100 times
# the largest so far. Losses of values may well rise
DIVERGED, EARLY, FIRST = 10.0, 100.0, 10
EVERY = 50  # updates between rows of long loops; weights that left the finite stay there until the next one


class Diverged(ArithmeticError):
    """A loss left the finite or rose tenfold; ``curve`` holds the rows before."""

    def __init__(self, message: str, curve: list[dict[str, float]]) -> None:
        super().__init__(message)
        self.curve = curve


def keep(curve: list[dict[str, float]], row: dict[str, float], name: str, remedy: str) -> None:
    """Adds a row to a curve, unless its loss ends the run.

    Args:
        curve: rows so far.
        row: with ``gradient_steps`` and the loss.
        name: of the loss in rows.
        remedy: what to try, for the message.

    Raises:
        Diverged: the loss is not finite, or ten times the largest size of the first ten (of fewer: a hundred times).
    """
    first = [abs(before[name]) for before in curve if name in before][:FIRST]
    usual = max(first, default=math.inf)
    if not math.isfinite(row[name]) or row[name] > (DIVERGED if len(first) == FIRST else EARLY) * usual:
        before = f", first at most {usual:.3g}" if first else ""
        raise Diverged(f"{name} {row[name]:.3g} at update {row['gradient_steps']}{before}: {remedy}", list(curve))
    curve.append(row)


def keep_some(curve: list[dict[str, float]], update: int, updates: int, name: str, loss: float, remedy: str) -> None:
    """As :func:`keep`, for every :data:`EVERY`-th and the last of ``updates`` updates, counted from 0."""
    if update % EVERY == 0 or update == updates - 1:
        keep(curve, {"gradient_steps": update + 1, name: loss}, name, remedy)


def descend(
    loss: torch.Tensor, optimiser: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler | None = None
) -> float:
    """One step of an optimiser, and of its schedule, down the slope of a scalar loss; returns the loss before it."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    if schedule is not None:
        schedule.step()
    return loss.item()
