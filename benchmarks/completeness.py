"""The completeness of a million rows in a table of four axes, scores given: seconds and peak memory.

    python benchmarks/completeness.py [rows]

Eight rows a host, 100,000 negatives, two false-positive rates. What is timed is all that a run does after scoring:
counts, curves, strata, ROC, selection function and its smooth model, writing the store, opening it again and
evaluating a million points.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from lensflow.config.completeness import CompletenessConfig
from lensflow.measure.completeness import summary
from lensflow.measure.completeness.selection.selection_file import to_file
from lensflow.run.selection import STORE, open_selection
from lensflow.store.arrays import write_arrays

PER_HOST = 8
BANDS = ["g", "r", "z"]
ABOUT: dict[str, Any] = {
    "scorer": "benchmark", "scorer_kind": "images", "split": "val", "negatives": "made up", "n_negatives": 100_000,
    "verdict": "", "reason": "", "scorer_note": "", "data_gates": {}, "certificate_seal": None, "run_fingerprint": "",
}  # fmt: skip


def made_up(n: int, seed: int = 1) -> tuple[xr.Dataset, summary.Negatives]:
    """Rows of a run, and scores that depend on them and on their host."""
    rng = np.random.default_rng(seed)
    hosts = -(-n // PER_HOST)
    of_row = np.arange(n) // PER_HOST

    def host(values: np.ndarray) -> tuple[Any, ...]:
        return ("sample", "band")[: values.ndim], values[of_row]

    theta = rng.choice([0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5], n) + rng.uniform(0, 0.25, n)
    mag = rng.uniform(22, 26, n)
    psf = rng.uniform(0.9, 1.6, (hosts, 3)).astype("f4")
    depth = rng.uniform(23.6, 25.5, (hosts, 3)).astype("f4")
    flux = 10 ** (0.4 * (22.5 - mag[:, None])) * np.ones(3)
    signal = 2 * (theta - 1.5) - 1.2 * (mag - 24) - 1.5 * (psf[of_row, 1] - 1.2) + 0.5 * (depth[of_row, 1] - 24.5)
    score = signal + rng.normal(size=hosts)[of_row] + rng.logistic(size=n)
    one = {
        "row_id": np.arange(n, dtype=np.uint64), "host_index": of_row, "is_control": np.zeros(n, bool),
        "render_not_converged": rng.random(n) < 1e-3, "is_clean": rng.random(n) < 0.8, "assumed_psf": np.zeros(n, bool),
        "theta_e_arcsec": theta.astype("f4"), "src_reff_arcsec": rng.uniform(0.1, 0.5, n).astype("f4"),
        "magnification": rng.uniform(2, 20, n).astype("f4"), "score": score,
    }  # fmt: skip
    data: dict[str, Any] = {k: ("sample", v) for k, v in one.items()}
    data |= {
        "psf_source": host(rng.integers(0, 3, (hosts, 3))), "psfsize_arcsec": host(psf), "psfdepth_mag": host(depth),
        "psf_fwhm_arcsec": host((0.811 * psf).astype("f4")), "flux_nmgy": host(rng.uniform(5, 100, (hosts, 3))),
        "bad_pixel_frac": host(rng.choice([0.0, 0.02, 0.1, 0.3], hosts)),
        "wise_brightmask_frac": host(rng.choice([0.0, 0.02, 0.1, 0.3], hosts)),
        "mw_transmission": host(np.full((hosts, 3), 0.95)),
    }  # fmt: skip
    for name, values in (("total_injected_flux_nmgy", flux), ("src_flux_nmgy", flux), ("snr_peak", flux * 20),
                         ("snr_matched", flux * 60)):  # fmt: skip
        data[name] = (("sample", "band"), values)
    found = xr.Dataset(data, coords={"band": BANDS}, attrs={"pixel_scale_arcsec": 0.262})
    negative = rng.normal(size=min(hosts, 100_000)) + rng.logistic(size=min(hosts, 100_000)) - 4
    return found, summary.Negatives(negative, np.arange(len(negative)), "made up")


def timed(name: str, call: Callable[[], Any]) -> Any:
    """Call, and print seconds (of the clock, of the processors) and the process' peak memory so far."""
    clock, processors = time.perf_counter(), time.process_time()
    found = call()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    clock, processors = time.perf_counter() - clock, time.process_time() - processors
    print(f"{name:34} {clock:8.2f} s  {processors:8.2f} s of processors  peak {peak:7.0f} MB", flush=True)
    return found


def main() -> None:
    """Print the times."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    config = CompletenessConfig.model_validate({"threshold": {"fpr": [1e-2, 1e-3]}})
    rows, negatives = timed(f"{n:,} rows made up", lambda: made_up(n))
    found = timed("completeness", lambda: summary.completeness(rows, negatives, config, 1))
    with tempfile.TemporaryDirectory() as folder:
        url = f"{folder}/benchmark.val.zarr"
        timed("store written", lambda: write_arrays(url, to_file(found, ABOUT), STORE))
        selection = timed("store opened", lambda: open_selection(url))
        points = {
            "theta_e_arcsec": np.random.default_rng(2).uniform(0.6, 2.6, 1_000_000),
            **{k: np.full(1_000_000, v) for k, v in (("src_mag_r", 23.2), ("psfsize_r", 1.3), ("psfdepth_r", 24.6))},
        }
        for method in ("cell", "linear"):
            timed(f"1,000,000 points, {method}", lambda m=method: selection.evaluate(points, m, "nan", threshold=0))


if __name__ == "__main__":
    main()
