"""The null arm: the reference made once more, held against its receipts by hash, and not stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lensflow.config import RunConfig
from lensflow.measure.realism.sweep.factors import NULL_ARM
from lensflow.measure.realism.sweep.proof import Compared, Proof, differing, judge
from lensflow.run.execute import Progress, Stopwatch, reduce_tasks
from lensflow.run.identity import pairs_content
from lensflow.run.inject import InjectTask
from lensflow.run.sweep.arms import Design
from lensflow.run.sweep.make import FromArcs
from lensflow.run.sweep.prove import kept_proof
from lensflow.store import create, receipts, writing
from lensflow.store.open import read_head, read_pixels, stored_regions
from lensflow.store.receipts import Receipt
from lensflow.store.run_folder import RunFolder


@dataclass(frozen=True, eq=False)
class NullProof:
    """What the null arm showed.

    Attributes
    ----------
    proof : Proof
        One hash for every stored array of the reference, of what its receipts say and of what was made again.
    n_rows, n_rendered : int
        Rows, and those that were rendered again.
    """

    proof: Proof
    n_rows: int
    n_rendered: int


def prove_null(design: Design, progress: Progress) -> NullProof:
    """Make the reference's rows once more, by the road of the other arms, and compare them with what is stored.

    The receipts of a run have the hash of every array of every region, as a reader gets it back. So nothing is written,
    and no pixel is read but where a hash is another one. Cutouts and manifest are the reference's own.

    Parameters
    ----------
    design : Design
        Its arms are made.
    progress : callable

    Returns
    -------
    NullProof

    Raises
    ------
    RealismError
        If any bit is another: then no difference of the sweep means anything.
    """
    config, source = design.reference.config, design.source_of(design.null)
    done = receipts.read_receipts(RunFolder.of(config).receipts("pairs"))
    n_rows = sum(r.stop - r.start for r in done.values())
    if not design.writes:  # no arm has pixels of its own
        proof = Proof.joined([_unchanged(r) for r in done.values()])
        return NullProof(proof, n_rows, 0)
    key = f"{pairs_content(config)} {'rendered' if source is None else pairs_content(source.config)} null"

    def prove() -> Proof:
        task = NullTask(config, None if source is None else source.config, done)
        found: Proof = reduce_tasks(task, sorted(done), Proof.joined, "prove", progress)
        judge(found, NULL_ARM, design.null.label)
        return found

    proof = kept_proof(design.folder, f"{design.reference.label}--{design.null.label}", key, prove)
    return NullProof(proof, n_rows, 0 if source is not None else n_rows)


class NullTask:
    """Make one region of the reference again, and compare it with its receipt."""

    def __init__(self, config: RunConfig, source: RunConfig | None, done: dict[int, Receipt]):
        self.config, self.source = config, source
        self.checksums = {k: r.checksums for k, r in done.items()}
        self.regions = stored_regions(RunFolder.of(config).pairs, "pairs")

    def __call__(self, index: int) -> Proof:
        """Compare region ``index``."""
        region, folder = self.regions[index], RunFolder.of(self.config)
        make: Any = InjectTask if self.source is None else FromArcs(self.source)
        block = make(self.config, "", self.regions).block(region, Stopwatch())
        made = writing.regional_arrays(block, folder.pairs, "pairs", region)
        out = {}
        for name, values in made.items():
            one, other = self.checksums[index][name], create.checksum(values)
            rows, first = np.zeros(0, bool), -1
            if one != other:
                stored = read_pixels(folder.pairs, "pairs", region.slice, (name,))[name]
                rows = differing(stored, values)
                ids = read_head(folder.manifest, "manifest", region.slice, ("row_id",))["row_id"].values
                first = int(ids[np.argmax(rows)]) if rows.any() else -1
            out[name] = Compared("equal", int(one, 16), int(other, 16), region.size, int(rows.sum()), first)
        return Proof(out)


def _unchanged(receipt: Receipt) -> Proof:
    n = receipt.stop - receipt.start
    return Proof({k: Compared("equal", int(v, 16), int(v, 16), n) for k, v in receipt.values.items()})
