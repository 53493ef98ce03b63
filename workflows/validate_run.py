"""The validation table of a finished run: is it as planned? Exits with 1 if not.

    python workflows/validate_run.py --config workflows/configs/laptop.yaml   (or the folder of a run)

Reads tables, and pixels of a few controls; `lensflow verify` reads every pixel. The test split stays sealed.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import typer
import xarray as xr
from options import Out, RunConfig, command

import lensflow as lf
from lensflow.schema import SPLITS, PsfSource, Status

WORDS = {"status": [s.name for s in Status], "split": [*SPLITS, "guard"], "psf_source": [s.name for s in PsfSource]}
RANGES = {
    "magnification": (0, np.inf), "stamp_flux_fraction": (0, 1.01), "core_flux_fraction": (0, 1.0001),
    "annulus_flux_fraction": (0, 1.0001), "arc_r50_pix": (0, np.inf), "arc_snr": (0, np.inf), "render_err": (0, 1),
}  # fmt: skip
Line = tuple[str, str, bool]


def counted(name: str, values: np.ndarray) -> str:
    """Categories with their counts."""
    return ", ".join(f"{WORDS[name][k]} {n}" for k, n in zip(*np.unique(values, return_counts=True), strict=True))


def percentiles(values: np.ndarray, which: Sequence[float]) -> str:
    """Percentiles of values, or - if there are none."""
    return "/".join(f"{v:.4g}" for v in np.percentile(values, which)) if values.size else "-"


def hosts(cutouts: xr.Dataset) -> Iterator[Line]:
    """Counts, and percentiles of the PSF sizes with their sources."""
    yield from ((f"hosts by {n}", counted(n, cutouts[n].values), True) for n in ("status", "split"))
    for band in map(str, cutouts["band"].values):
        size, source = (cutouts[name].sel(band=band).values for name in ("psfsize_arcsec", "psf_source"))
        known = np.isfinite(size) & (size > 0)
        agree = bool((known == (source != PsfSource.NONE)).all())
        text = f"{percentiles(size[known], (1, 5, 10, 50))} ({counted('psf_source', source)})"
        yield f"PSF {band}, P1/P5/P10/P50 arcsec", text, agree


def metrics(injections: xr.Dataset) -> Iterator[Line]:
    """Coverage and ranges; a null needs a reason."""
    nowhere = ~np.isfinite(injections["psf_fwhm_arcsec"].values).any(axis=1)
    no_snr = nowhere | (injections["band_absent"].values > 0) | (injections["no_good_pixel"].values > 0)
    for name, (low, high) in RANGES.items():
        excused = no_snr if name == "arc_snr" else nowhere
        found = np.isfinite(values := injections[name].values)
        good = bool((found | excused).all() and ((values[found] >= low) & (values[found] <= high)).all())
        yield name, f"{found.mean():.1%} of rows, {percentiles(values[found], (0, 50, 100))} (min/median/max)", good


def controls(pairs: xr.Dataset) -> Iterator[Line]:
    """No arc, no metrics, and the host's own pixels."""
    no_arc = np.isnan(pairs["theta_e_arcsec"].values) & (pairs["lens_model"].values == "CONTROL")
    null = np.all([~np.isfinite(pairs[name].values) for name in RANGES], axis=0)
    yield "controls without arc and metrics", f"{(no_arc & null).sum()} of {len(null)}", bool((no_arc & null).all())
    some = pairs[["arc", "stamp", "ctrl"]].isel(sample=slice(64)).compute()
    same = bool((some["arc"] == 0).all() and np.array_equal(some["stamp"], some["ctrl"]))
    yield "controls are the host, bit for bit", f"{some.sizes['sample']} read", same


def fluxes(injections: xr.Dataset) -> Iterator[Line]:
    """Flux on the stamp against theta_E, and against magnification x source flux."""
    flux = np.nansum(injections["total_injected_flux_nmgy"].values, axis=1)
    source = injections["src_flux_nmgy"].where(injections["psf_fwhm_arcsec"] > 0).sum("band").values
    expected = injections["magnification"].values * source * injections["stamp_flux_fraction"].values
    use = (source > 0) & (flux > 0)
    off = np.abs(flux[use] / expected[use] - 1).max(initial=0)
    yield "flux = magnification x source x share", f"{use.sum()} rows, largest difference {off:.1e}", bool(off < 1e-3)
    if use.any() and np.ptp(x := np.log10(injections["theta_e_arcsec"].values[use])) > 0:
        slopes = [np.polyfit(x, np.log10(y[use]), 1)[0] for y in (flux, source)]
        yield "slope of log flux on log theta_E", f"{slopes[0]:+.2f}; of the source's own flux {slopes[1]:+.2f}", True


@command(__doc__)
def main(config: RunConfig, out: Out = None) -> None:
    """Print the table; return 1 if a line is not as it must be."""
    is_file = config.endswith((".yaml", ".yml"))
    out = out or (lf.load_config(config).out if is_file else config)
    pairs, cutouts = lf.open_pairs(out), lf.open_cutouts(out)
    is_control = pairs["is_control"].values
    injections = pairs.isel(sample=~is_control)
    lines = [("rows", f"{len(is_control)} open, {pairs.attrs['n_sealed']} sealed; {is_control.sum()} controls", True)]
    lines += [*hosts(cutouts), *metrics(injections), *controls(pairs.isel(sample=is_control)), *fluxes(injections)]
    for what, found, good in lines:
        print(f"{'ok  ' if good else 'FAIL'} {what}: {found}")
    raise typer.Exit(int(not all(good for *_, good in lines)))


if __name__ == "__main__":
    main()
