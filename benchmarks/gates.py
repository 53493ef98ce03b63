"""All diagnostics, and all gates with controls, permutation, reference and bootstrap, on 20,000 pairs.

Then the classifier beside scikit-learn's.

Run as ``python benchmarks/gates.py [pairs]``. Compare ratios within one run.
"""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from dataclasses import replace

import dask
import dask.array as da
import numpy as np
import xarray as xr
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LogisticRegression as Theirs
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from lensflow import geometry
from lensflow.config import RunConfig
from lensflow.measure.gate import Features, LogisticRegression
from lensflow.measure.gate.crossfit import Linear
from lensflow.measure.gate.features import features_of, with_features
from lensflow.measure.gate.machine import Machine, host_folds
from lensflow.measure.pixels import Bits, Block, Recompute, Settings, measure
from lensflow.measure.pixels.rendering import SAMPLE, Rerendered
from lensflow.measure.zoo.small_run import small_run
from lensflow.run.gate_rows import GateInput
from lensflow.run.judge import run_all_gates

BANDS = ("g", "r", "z")
PER_HOST, BOX = 6, 10


def block(n_pairs: int, seed: int = 0) -> xr.Dataset:
    """Core boxes of galaxies with PSF-correlated noise; faint arcs in the stamps."""
    draw = np.random.default_rng(seed)
    n_hosts = n_pairs // PER_HOST
    host = np.repeat(np.arange(n_hosts), PER_HOST)
    r = geometry.radius_pix(BOX, (BOX - 1) / 2, (BOX - 1) / 2)
    near = np.exp(-0.5 * (geometry.radius_pix(BOX, 0, 0) / 1.3) ** 2)

    def noise(n: int) -> np.ndarray:
        white = np.fft.rfft2(draw.normal(size=(n, 3, BOX, BOX)))
        return np.fft.irfft2(white * np.fft.rfft2(near / near.sum() * 3), s=(BOX, BOX))

    galaxy = draw.uniform(5, 50, (n_hosts, 3, 1, 1)) * np.exp(-r / 4)
    ctrl = (galaxy + noise(n_hosts))[host].reshape(-1, 3, BOX**2)
    arc = draw.exponential(1.0, (len(host), 1, 1)) * np.exp(-0.5 * ((r.ravel() - 6) / 2) ** 2)
    stamp = ctrl + arc + 0.3 * noise(len(host)).reshape(-1, 3, BOX**2)
    n = len(host)
    one, two = ("sample",), ("sample", "band")
    rows = xr.Dataset(
        {
            "covered": (two, np.ones((n, 3), bool)),
            "sky_sigma": (two, np.full((n, 3), 0.5, np.float32)),
            "host_index": (one, host),
            "row_id": (one, np.arange(n, dtype=np.uint64)),
            "theta_e_arcsec": (one, draw.uniform(0.3, 2.4, n)),
            "arc_snr": (one, draw.uniform(1, 60, n)),
            "split": (one, (host % 3).astype(np.uint8)),
        }
    )
    return with_features(rows, {"core_raw": Features(*(v.astype(np.float32) for v in (stamp, ctrl, ctrl + arc)))})


def seconds(work, times: int = 3) -> float:
    """Median of a few runs."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))


def diagnostics_rows(table: Table, n_pairs: int, config: RunConfig) -> None:
    """Time all diagnostics on one block of a small run, and scale the pass over its pixels to ``n_pairs``."""
    run = small_run(hosts=60, per_host=6)
    pairs = run.pairs()
    rows = int((~pairs["is_control"]).sum())
    # Without the sample of rows whose cost does not grow with the run.
    bare = replace(run.origin, last_key=0)
    found = [measure(Block(pairs, config.diagnostics, bare))]  # compiles
    one = seconds(lambda: found.append(measure(Block(pairs, config.diagnostics, bare))), 5)
    table.add_row(f"diagnostics, pass over {rows} pairs in memory; one thread", f"{one:.2f}")
    again = seconds(lambda: Recompute.from_block(Block(pairs, origin=run.origin)), 5)
    table.add_row("of which every stamp made again", f"{again:.2f}")
    table.add_row(f"the same for {n_pairs:,} pairs on two threads (scaled)", f"{one * n_pairs / rows / 2:.1f}")
    for what, work in (
        ("arcs rendered again", lambda: Rerendered.from_block(Block(pairs, origin=run.origin))),
        ("signs and formats", lambda: Bits.from_block(Block(pairs, origin=run.origin))),
    ):
        work()
        cost = seconds(work, 3) * SAMPLE / rows / 2
        table.add_row(f"{what}, of {SAMPLE} rows whatever the run's size; two threads (scaled)", f"{cost:.2f}")
    results = seconds(lambda: found[-1].results(Settings(config.diagnostics, 1, config.injection)), 3)
    table.add_row("diagnostics, intervals, and what is made anew; once a run", f"{results:.2f}")


def regression_rows(table: Table, n: int = 10**6, p: int = 300, per_block: int = 20_000) -> None:
    """Time the regression of many rows: read from disk for each gradient, and drawn again for each.

    Drawing is this benchmark's own work, not the product's, so features are also written once, as anybody's are.
    """
    drawn = da.random.default_rng(0).normal(size=(n, p), chunks=(per_block, p)).astype("f4")
    labels = drawn[:, 0] + da.random.default_rng(1).normal(size=n, chunks=per_block) > 0
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):

        def place(kind: str, k: int) -> str:
            return f"{folder}/{kind}{k}.npy"

        def write(k: int) -> None:
            x, y = dask.compute(drawn.blocks[k, 0], labels.blocks[k], scheduler="synchronous")
            np.save(place("x", k), x)
            np.save(place("y", k), y)

        def stored(kind: str, shape: tuple[int, ...], dtype: str) -> da.Array:
            read = dask.delayed(np.load)
            parts = [da.from_delayed(read(place(kind, k)), shape, dtype) for k in range(n // per_block)]
            return da.concatenate(parts)

        once = both_clocks(lambda: dask.compute(*[dask.delayed(write)(k) for k in range(n // per_block)]))
        table.add_row(f"{n:,} x {p} features drawn and written, once; no part of the fit; two threads", once)
        x, y = stored("x", (per_block, p), "f4"), stored("y", (per_block,), "?")
        table.add_row(
            f"LogisticRegression of them, two threads, read from disk ({4 * n * p / 1e9:.1f} GB) for each gradient",
            both_clocks(lambda: LogisticRegression().fit(x, y)),
        )
        table.add_row(
            "the same, features drawn again for each gradient",
            both_clocks(lambda: LogisticRegression().fit(drawn, labels)),
        )


def both_clocks(work) -> str:
    """Seconds by the clock, and of the processor."""
    start, begun = time.perf_counter(), time.process_time()
    work()
    return f"{time.perf_counter() - start:.1f} ({time.process_time() - begun:.1f} of the processor)"


def main() -> None:
    warnings.simplefilter("ignore")
    n_pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    console = Console()
    config = RunConfig.model_validate({"out": "-", "survey": {"synthetic": {}}})
    features = block(n_pairs)
    rows_of_gates = GateInput(features, {}, None)
    run_all_gates(GateInput(block(600), {}, None), config)  # compiles
    table = Table(title=f"{n_pairs:,} pairs, {n_pairs // PER_HOST:,} hosts", title_justify="left")
    for name in ("what", "seconds"):
        table.add_column(name, justify="left" if name == "what" else "right")
    results = []
    with threadpool_limits(1):
        diagnostics_rows(table, n_pairs, config)
    table.add_row(
        "gates core_r and core_all: 8 null swaps, leaks, 1,999 permutations, reference, strata, bootstrap; two threads",
        f"{seconds(lambda: results.append(run_all_gates(rows_of_gates, config)), 3):.2f}",
    )
    found, hosts = features_of(features, "core_raw"), features["host_index"].values
    stamp, ctrl = (v.reshape(len(v), -1).astype(np.float64) for v in (found.stamp, found.ctrl))
    folds = host_folds(hosts, 5, 1)
    machine = Machine(hosts, folds, Linear(1.0), 400, 1)
    everyone = np.ones(len(stamp), bool)

    def fold_by_fold(model):
        out = np.empty((2, len(stamp)))
        for train, test in folds:
            fitted = Pipeline([("scale", StandardScaler()), ("lr", model)])
            fitted.fit(np.concatenate([stamp[train], ctrl[train]]), np.arange(2 * len(train)) < len(train))
            out[0, test], out[1, test] = fitted.decision_function(stamp[test]), fitted.decision_function(ctrl[test])
        return out

    scores = {}
    with threadpool_limits(1):
        for name, work in {
            "5 folds x 300 features, CrossFit (with the fit of all rows)": lambda: machine.crossfit(stamp, ctrl).scores(
                everyone
            ),
            "the same, LogisticRegression in a Pipeline": lambda: fold_by_fold(LogisticRegression()),
            "the same, scikit-learn's newton-cholesky, tol 1e-8": lambda: fold_by_fold(
                Theirs(solver="newton-cholesky", tol=1e-8, max_iter=500)
            ),
        }.items():
            table.add_row(
                f"{name}; one thread",
                f"{seconds(lambda name=name, work=work: scores.update({name: np.array(work())})):.2f}",
            )
    ours, again, theirs = scores.values()
    regression_rows(table)
    console.print(table)
    apart = [f"{np.abs(v - theirs).max():.1e}" for v in (ours, again)]
    console.print(f"decision functions agree with scikit-learn's to {' and '.join(apart)}")
    for g in results[0]:
        console.print(f"{g.name}: {g.verdict}: {g.reason}", markup=False, highlight=False)


if __name__ == "__main__":
    main()
