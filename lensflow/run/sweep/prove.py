"""Prove that two arms differ in one factor: every region of both, compared by hash, one task each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import xarray as xr

from lensflow.config import RunConfig
from lensflow.errors import RealismError
from lensflow.measure.realism.sweep.factors import Factor
from lensflow.measure.realism.sweep.proof import Compared, Proof, judge, refuse_other_rows
from lensflow.measure.realism.sweep.relations import Side
from lensflow.run.execute import Progress, reduce_tasks
from lensflow.run.identity import pairs_content
from lensflow.run.sweep.arms import Arm
from lensflow.store import paths
from lensflow.store.blocks import hosts_of
from lensflow.store.open import read_attrs, read_head, read_pairs_block, stored_regions
from lensflow.store.regions import Region
from lensflow.store.results import current_results, keep_results
from lensflow.store.run_folder import RunFolder

# What rendering takes from a manifest beside its rows.
_ATTRS = ("seed", "psf_model", "psf_beta", "psfsize_is")

# Beyond the integers that JSON keeps.
_LARGE = ("digest_a", "digest_b", "first")


def prove(a: Arm, b: Arm, factor: Factor, folder: str, progress: Progress) -> xr.Dataset:
    """Compare two finished arms in all rows, or read what is stored of it; a sweep stops if they differ in more.

    Parameters
    ----------
    a, b : Arm
        ``b`` has another value of the factor.
    factor : Factor
    folder : str
        Of the sweep.
    progress : callable

    Returns
    -------
    Dataset
        As :meth:`lensflow.measure.realism.sweep.proof.Proof.result`.

    Raises
    ------
    RealismError
        If anything differs that is declared equal; nothing is stored then.
    """
    key = f"{pairs_content(a.config)} {pairs_content(b.config)} {factor.setting}"

    def made() -> Proof:
        refuse_other_manifests(a.config, b.config, factor)
        task = ProofTask(a.config, b.config, factor)
        proof: Proof = reduce_tasks(task, [r.index for r in task.regions], Proof.joined, "prove", progress)
        judge(proof, factor, b.label)
        return proof

    return kept_proof(folder, f"{a.label}--{b.label}", key, made).result()


def kept_proof(folder: str, name: str, key: str, make: Callable[[], Proof]) -> Proof:
    """Read a proof that is kept under a key, or make and keep it.

    Parameters
    ----------
    folder : str
        Of the sweep.
    name, key : str
    make : callable
        Raises where the proof fails: nothing is kept then.

    Returns
    -------
    Proof
    """
    url = paths.join(folder, "proofs", f"{name}.json")
    stored: Any = current_results(url, key)
    if stored is None:
        stored = {n: vars(c) | {k: str(getattr(c, k)) for k in _LARGE} for n, c in make().arrays.items()}
        keep_results(url, key, stored)
    return Proof({n: _read(c) for n, c in stored.items()})


def _read(stored: dict[str, Any]) -> Compared:
    large: dict[str, Any] = {k: int(stored[k]) for k in _LARGE}
    return Compared(**(stored | large))


def refuse_other_manifests(a: RunConfig, b: RunConfig, factor: Factor) -> None:
    """Refuse manifests of other rows, or of other attributes that rendering takes from them.

    Raises
    ------
    RealismError
    """
    urls = [RunFolder.of(c).manifest for c in (a, b)]
    attrs = [read_attrs(u, "manifest") for u in urls]
    for name in _ATTRS:
        if attrs[0].get(name) != attrs[1].get(name) and factor.setting != f"plan.{name}":
            raise RealismError(
                f"factor {factor.name!r} also changed the manifest's {name}: {attrs[0].get(name)!r} and "
                f"{attrs[1].get(name)!r}"
            )
    if urls[0] != urls[1]:
        rows = [read_head(u, "manifest", names=("row_id",))["row_id"].values for u in urls]
        refuse_other_rows(rows[0], rows[1], factor.name)


class ProofTask:
    """Compare one region of two arms."""

    def __init__(self, a: RunConfig, b: RunConfig, factor: Factor):
        self.a, self.b, self.factor = a, b, factor
        self.regions, other = (stored_regions(RunFolder.of(c).pairs, "pairs") for c in (a, b))
        if self.regions != other:
            raise RealismError(
                f"factor {factor.name!r}: the pairs of {a.out} and {b.out} have other regions, and cannot be compared "
                "region by region"
            )

    def __call__(self, index: int) -> Proof:
        """Compare region ``index``."""
        region = self.regions[index]
        return Proof.from_blocks(self._side(self.a, region), self._side(self.b, region), self.factor)

    @staticmethod
    def _side(config: RunConfig, region: Region) -> Side:
        folder = RunFolder.of(config)
        names = read_head(folder.manifest, "manifest", region.slice, ("host_index",))
        hosts = hosts_of(folder.cutouts, names["host_index"].values)
        return Side(read_pairs_block(folder.pairs, folder.manifest, folder.cutouts, region, hosts), hosts, config)
