"""Batches made ready for a device in a thread, while the network learns from the one before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lensflow.training.packages import need

Batch = TypeVar("Batch")
Made = TypeVar("Made")
# One that is used, and one for the thread to fill meanwhile.
N_AHEAD = 2


def ahead(batches: Iterable[Batch], make: Callable[[Batch], Made]) -> Iterator[tuple[Batch, Made]]:
    """Batches in their order with what is made of each, two of them ahead of their use.

    Parameters
    ----------
    batches : iterable
        Read in the thread.
    make : callable
        Batch -> what the device needs of it; called in the thread.

    Yields
    ------
    (batch, made)
        An error of either is raised where its batch would have come.
    """
    source = iter(batches)
    end = object()

    def one() -> Any:
        batch = next(source, end)
        return None if batch is end else (batch, make(batch))  # type: ignore[arg-type]

    with ThreadPoolExecutor(1, "lensflow-batches") as pool:
        waiting: deque[Future[Any]] = deque(pool.submit(one) for _ in range(N_AHEAD))
        try:
            while (found := waiting.popleft().result()) is not None:
                waiting.append(pool.submit(one))
                yield found
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            # Readers of files end with their generator, and not when memory is collected.
            getattr(source, "close", lambda: None)()


def on_device(values: NDArray[np.float32], device: str, channels_last: bool = False) -> Any:
    """Copy numbers to a device; to a GPU from pinned memory, so that nothing waits for the copy.

    Parameters
    ----------
    values : ndarray
        Made float32 and contiguous.
    device : str
    channels_last : bool
        Lay out (n, C, H, W) as (n, H, W, C), as tensor cores read it.

    Returns
    -------
    torch.Tensor
    """
    torch = need("torch")
    here = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
    there = here.pin_memory().to(device, non_blocking=True) if device.startswith("cuda") else here.to(device)
    return there.contiguous(memory_format=torch.channels_last) if channels_last else there
