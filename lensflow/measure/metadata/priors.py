"""Compare a manifest with a second draw of the same plan with another seed.

The second draw has every relation in it (theta_E from the host, sizes from magnitudes, a point where the config fixes a
value), so that only what departs from the declaration is noticed: distributions, rank correlations between parameters
and with the brightness of the host, parameters that never change, and arcs that are drawn twice. It is drawn by the
same code: a fault of the drawing itself is in both, and is for the tests of that code.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import combinations, pairwise

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import kolmogi, ndtri

from lensflow.manifest.parameters import COLUMNS, parameters
from lensflow.measure.pixels.judging import Finding, Status, not_tested
from lensflow.stats.estimate import Estimate
from lensflow.stats.ranks import rank_correlations

Floats = NDArray[np.float64]

# Chance that a sound manifest alarms, in each of the two families of comparisons.
LEVEL = 5e-4
# With fewer hosts no distance of distributions, 1 at most, would exceed the limit.
LEAST_HOSTS = 12
MAX_ROWS = 20_000
# Added to a run's seed for the second draw of its plan.
OTHER_SEED = 1_000_003
# Differences of a rank correlation and shares of repeated arcs below these do not matter.
SMALL_CORRELATION, SMALL_SHARE = 0.1, 0.01
# An arc is drawn twice if all of these agree to six digits.
_ARC = ("theta_e_arcsec", "lens_q", "shear", "src_x_arcsec", "src_y_arcsec", "src_reff_arcsec", "src_n", "src_q")
_TABLE_NAMES = {"lens_e": "lens_q", "src_mag": "src_flux_nmgy", "src_offset": "src_x_arcsec"}


def prior_findings(
    manifest: xr.Dataset,
    redrawn: xr.Dataset | str,
    host_flux: Floats,
    bands: Sequence[str],
    reference_band: int,
    given: Collection[str] = (),
    n_twice: int = 0,
) -> list[Finding]:
    """Compare a manifest with a second draw of its plan.

    Parameters
    ----------
    manifest, redrawn : Dataset
        Rows of the run, and of the same plan with another seed on the same hosts; or why there is none.
    host_flux : ndarray, shape (host,)
        Brightness of every host, by ``host_index``; NaN where it is not known.
    bands : sequence of str
    reference_band : int
    given : collection of str
        Columns that a user's table gave: their distribution is the user's.
    n_twice : int
        Row ids of the whole manifest that occur more than once.
    """
    text = "row ids that occur more than once"
    status = Status.ALARM if n_twice else Status.OK
    out = [Finding("priors", "row ids are unique", status, "", Estimate(float(n_twice)), 0.0, text)]
    if isinstance(redrawn, str):
        return [*out, not_tested("priors", "distributions", redrawn)]
    runs = [rows.isel(sample=~rows["is_control"].values) for rows in (manifest, redrawn)]
    hosts = [rows["host_index"].values for rows in runs]
    n, m = (int(np.unique(h).size) for h in hosts)
    if min(n, m) < LEAST_HOSTS:
        return [*out, not_tested("priors", "distributions", f"{min(n, m)} hosts: at least {LEAST_HOSTS} are needed")]
    skipped = {name for name in (*COLUMNS, "lens_e", "src_mag", "src_offset") if _TABLE_NAMES.get(name, name) in given}
    skipped |= {f"{a}-{b}" for a, b in pairwise(bands) if "src_flux_nmgy" in given}
    run, other = (
        {k: v for k, v in parameters(rows, bands, reference_band).items() if k not in skipped} for rows in runs
    )
    names = [k for k in run if np.isfinite(run[k]).any() and np.isfinite(other[k]).any()]
    out.append(_distributions(names, run, other, n, m))
    run["host flux"], other["host flux"] = (host_flux[h] for h in hosts)
    out.append(_correlations([*names, "host flux"], run, other, n, m))
    out.append(_frozen(names, run, other))
    out.append(_repeated(runs[0], runs[1]))
    return out


def _distributions(names: Sequence[str], run: dict[str, Floats], other: dict[str, Floats], n: int, m: int) -> Finding:
    """Kolmogorov-Smirnov, as if each host were one row."""
    found = {}
    for name in names:
        a, b = (np.sort(d[name][np.isfinite(d[name])]) for d in (run, other))
        # Relations end in the last digits: a point that is declared is one point.
        a, b = (np.round(v, 9) for v in (a, b))
        at = np.concatenate([a, b])
        apart = np.searchsorted(a, at, side="right") / a.size - np.searchsorted(b, at, side="right") / b.size
        found[name] = float(np.abs(apart).max())
    worst = max(found, key=lambda k: found[k])
    limit = float(kolmogi(LEVEL / len(found)) * np.sqrt((n + m) / (n * m)))
    status = Status.ALARM if found[worst] > limit else Status.OK
    text = (
        f"largest distance of a parameter's distribution from that of a second draw; {100 * LEVEL:g} % exceed the limit"
    )
    beyond = sorted((k for k in found if found[k] > limit), key=lambda k: -found[k])
    where = ", ".join(beyond) or worst
    return Finding("priors", "distributions", status, where, Estimate(found[worst]), 0.0, text, limit=limit)


def _correlations(names: Sequence[str], run: dict[str, Floats], other: dict[str, Floats], n: int, m: int) -> Finding:
    pairs = list(combinations(range(len(names)), 2))
    found = [rank_correlations({k: d[k] for k in names}, LEAST_HOSTS) for d in (run, other)]
    limit = float(-ndtri(LEVEL / (2 * len(pairs))) * np.sqrt(1.06 / (n - 3) + 1.06 / (m - 3)))
    worst, most, value = "", -np.inf, 0.0
    for a, b in pairs:
        r, s = (float(matrix[a, b]) for matrix in found)
        if np.isfinite(r) and np.isfinite(s) and abs(r - s) > SMALL_CORRELATION:
            excess = abs(np.arctanh(np.clip(r, -0.9999, 0.9999)) - np.arctanh(np.clip(s, -0.9999, 0.9999))) - limit
            if excess > most:
                worst, most, value = f"{names[a]} with {names[b]}: {r:.2f}, a second draw {s:.2f}", float(excess), r - s
    status = Status.ALARM if most > 0 else Status.OK
    text = "largest difference of a rank correlation of two parameters, or with the host's brightness, to a second draw"
    return Finding("priors", "correlations", status, worst, Estimate(value), 0.0, text)


def _frozen(names: Sequence[str], run: dict[str, Floats], other: dict[str, Floats]) -> Finding:
    frozen = [k for k in names if _varies(other[k]) and not _varies(run[k])]
    status = Status.ALARM if frozen else Status.OK
    text = "parameters with one value in all rows that are declared to vary"
    return Finding("priors", "no parameter stands still", status, ", ".join(frozen), Estimate(len(frozen)), 0.0, text)


def _varies(values: Floats) -> bool:
    good = values[np.isfinite(values)]
    return bool(good.size and np.ptp(good) > 1e-9 * np.abs(good).max())


def _repeated(run: xr.Dataset, other: xr.Dataset) -> Finding:
    """Share of rows whose arc is that of an earlier row, to six digits."""
    value, expected = (_share_repeated(rows) for rows in (run, other))
    status = Status.ALARM if value > expected + SMALL_SHARE else Status.OK
    text = "share of rows whose lens and source are those of another row, to six digits; beside that of a second draw"
    return Finding("priors", "arcs are not drawn twice", status, "", Estimate(value), expected, text)


def _share_repeated(rows: xr.Dataset) -> float:
    columns = [rows[k].values.astype(np.float64) for k in _ARC]
    table = np.stack([np.array([float(f"{v:.6g}") for v in c]) for c in columns], axis=1)
    table = np.where(np.isnan(table), -1.0, table)
    if "src_id" in rows:
        table = np.column_stack([table, np.unique(rows["src_id"].values.astype(str), return_inverse=True)[1]])
    return 1 - len(np.unique(table, axis=0)) / max(len(table), 1)
