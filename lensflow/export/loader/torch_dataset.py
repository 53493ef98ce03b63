"""The loader as a torch dataset: it yields whole batches, so ``DataLoader(dataset, batch_size=None)``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lensflow.errors import ExportError
from lensflow.export.loader.batches import Batches
from lensflow.export.loader.epoch import Layout


def world_and_rank(world: int | None, rank: int | None) -> tuple[int, int]:
    """Return what is given, else torch.distributed's where it is initialised, else 1 and 0.

    Raises
    ------
    ExportError
        If torch is missing.
    """
    torch, *_ = _torch()
    together = torch.distributed.is_available() and torch.distributed.is_initialized()
    if world is None:
        world = torch.distributed.get_world_size() if together else 1
    if rank is None:
        rank = torch.distributed.get_rank() if together else 0
    return world, rank


def dataset_of(plan: Batches, workers: int) -> Any:
    """Return the batches of one rank as a torch ``IterableDataset``.

    Parameters
    ----------
    plan : Batches
    workers : int
        ``num_workers`` of the DataLoader.

    Raises
    ------
    ExportError
        If torch is missing.
    """
    layout = Layout(plan.layout.rank, plan.layout.world, 0, max(workers, 1))
    return _dataset_class(*_torch())(replace(plan, layout=layout))


def _torch() -> tuple[Any, Any, Any]:
    try:
        import torch
        from torch.utils.data import IterableDataset, get_worker_info
    except ImportError as error:
        raise ExportError('torch_dataset needs the package torch; pip install "lensflow[train]"') from error
    return torch, IterableDataset, get_worker_info


def _tensors(torch: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
    out = {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in batch.items()}
    out["y"] = out["y"].to(torch.float32)
    return out


_classes: dict[str, type] = {}


def _dataset_class(torch: Any, base: Any, worker_info: Any) -> Any:
    """Make the class once torch is there: without it all else of lensflow works."""
    if "BatchDataset" in _classes:
        return _classes["BatchDataset"]

    class BatchDataset(base):
        """Whole batches of a training view; see :func:`lensflow.torch_dataset`."""

        def __init__(self, plan: Batches):
            super().__init__()
            self.plan, self._done = plan, 0
            # Shared with worker processes, also those that live on between epochs: epoch, batches to skip.
            self._at = torch.zeros(2, dtype=torch.int64).share_memory_()

        def __reduce__(self) -> Any:
            return _rebuilt, (self.plan, self._at, self._done)

        def set_epoch(self, epoch: int) -> None:
            """Choose the epoch: its order and its augmentation."""
            self._at[0], self._at[1], self._done = epoch, 0, 0

        @property
        def epoch(self) -> int:
            """The epoch that is read, or read next."""
            return int(self._at[0])

        def __len__(self) -> int:
            layout = self.plan.layout
            n = replace(self.plan, epoch=self.epoch).quotas().reshape(layout.world, -1)[layout.rank].sum()
            return max(int(n) - int(self._at[1]), 0)

        def __iter__(self) -> Iterator[dict[str, Any]]:
            info, epoch, skip = worker_info(), int(self._at[0]), int(self._at[1])
            there = info.num_workers if info else 1
            if there != self.plan.layout.workers:
                raise ExportError(
                    f"torch_dataset: the DataLoader has num_workers {info.num_workers if info else 0}, and the dataset "
                    f"was made for {self.plan.layout.workers}: give both the same (torch_dataset(..., workers=N))"
                )
            plan = _own_share(replace(self.plan, epoch=epoch), skip, info.id if info else 0)
            self._done = skip
            for batch in plan:
                self._done += 1
                yield _tensors(torch, batch)
            if info is None:
                self.set_epoch(epoch + 1)

        def __getitems__(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
            """Samples by number, for map-style use: each read costs a whole shard, and nothing is augmented."""
            view = self.plan.view
            at = np.asarray(numbers, np.int64)
            unit, starts = view.samples["unit"].values, view.starts
            out: list[Any] = [None] * len(at)
            for u in np.unique(unit[at]):
                read = view.read(int(u))
                for k in np.flatnonzero(unit[at] == u):
                    row = int(at[k] - starts[u])
                    one = _tensors(torch, {n: v[row : row + 1] for n, v in read.items()})
                    out[k] = {n: v[0] for n, v in one.items()}
            return out

        def __getitem__(self, number: int) -> dict[str, Any]:
            return self.__getitems__([number])[0]

        def state_dict(self, batches_done: int | None = None) -> dict[str, Any]:
            """Where this rank is in the epoch.

            Parameters
            ----------
            batches_done : int, optional
                Batches of the epoch that the training has used; needed with worker processes, which read ahead.

            Returns
            -------
            dict
                Plain numbers and text.
            """
            layout = self.plan.layout
            if batches_done is None:
                if layout.workers > 1:
                    raise ExportError("state_dict: with worker processes, say how many batches are done")
                batches_done = self._done
            return {"epoch": self.epoch, "batches": int(batches_done), **self._must_agree()}

        def _must_agree(self) -> dict[str, Any]:
            layout = self.plan.layout
            return {
                "seed": self.plan.seed, "rank": layout.rank, "world": layout.world, "workers": layout.workers,
                "drop_last": self.plan.drop_last, "samples": self.plan.fingerprint(),
            }  # fmt: skip

        def load_state_dict(self, state: Mapping[str, Any]) -> None:
            """Go on where another was.

            Parameters
            ----------
            state : mapping
                Of :meth:`state_dict`.

            Raises
            ------
            ExportError
                If it is the state of other samples, of another order, or of another number of readers.
            """
            mine = self._must_agree()
            missing = [k for k in ("epoch", "batches", *mine) if k not in state]
            if missing:
                raise ExportError(f"load_state_dict: no state of this loader: it lacks {', '.join(missing)}")
            for name, value in mine.items():
                if state[name] != value:
                    raise ExportError(
                        f"load_state_dict: {name} is {state[name]} in the state and {value} here, so that samples "
                        "would be left out or read twice. Go on with the same, or begin a new epoch (set_epoch)."
                    )
            self.set_epoch(int(state["epoch"]))
            self._at[1] = int(state["batches"])
            self._done = int(state["batches"])

    _classes["BatchDataset"] = BatchDataset
    return BatchDataset


def _rebuilt(plan: Batches, at: Any, done: int) -> Any:
    import torch
    from torch.utils.data import IterableDataset, get_worker_info

    out = _dataset_class(torch, IterableDataset, get_worker_info)(plan)
    out._at, out._done = at, done
    return out


def _own_share(plan: Batches, done: int, reader: int) -> Batches:
    """What a reader does once a rank has used some batches: a DataLoader asks its readers in turn, from the first.

    So the first one takes the part of the reader whose turn it was, and the others follow in their order: batches come
    in the order in which they would have come.
    """
    workers = plan.layout.workers
    quota = plan.quotas().reshape(plan.layout.world, workers)[plan.layout.rank]
    used, turn = np.zeros(workers, np.int64), 0
    while done and (used < quota).any():
        if used[turn] < quota[turn]:
            used[turn] += 1
            done -= 1
        turn = (turn + 1) % workers
    part = (turn + reader) % workers
    return replace(plan, layout=replace(plan.layout, worker=part), skip=int(used[part]))
