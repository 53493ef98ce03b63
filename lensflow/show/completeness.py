"""Tables of a scorer's completeness: thresholds, then the three curves in the resolution bins and in all strata."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from lensflow.measure.completeness.table import interval_of, shown
from lensflow.measure.gate.verdicts import GateResult
from lensflow.measure.pixels.judging import Finding, Status
from lensflow.show.numbers import fixed, number
from lensflow.show.table import Cell, Column, Table, words
from lensflow.stats.estimate import Estimate


def sentence(scorer: str, split: str, found: Mapping[str, xr.Dataset]) -> str:
    """Say of what the numbers are, and what is wrong with them."""
    about = found["funnel"].attrs
    verdict, reason = str(about["verdict"]).replace("_", " "), str(about["reason"])
    if "thresholds" not in found:
        return f"{verdict}: no completeness of {scorer} on split {split}: {reason}."
    taus = ", ".join(f"{t:.4g}" for t in found["thresholds"]["tau"].values)
    n = int(found["thresholds"]["n_negatives"])
    of = f"{found['thresholds'].attrs['negatives']} ({n:,})" if n else "none"
    what = "Detectability by definition" if reason and not verdict else "Completeness"
    reason = reason.removeprefix("detectability by definition: ")
    notes = f"{verdict}: {reason}. " if verdict else f"{reason[:1].upper()}{reason[1:]}. " if reason else ""
    prior = str(about.get("prior", "this run's plan"))
    return (
        f"{what} of {scorer} at tau {taus} on split {split}, for injections drawn from {prior}. {notes}"
        f"{_note(found)}Negatives: {of}."
    )


def threshold_names(found: Mapping[str, xr.Dataset]) -> list[str]:
    """Each threshold by what set it.

    Parameters
    ----------
    found : mapping
        Tables of a completeness.

    Returns
    -------
    list of str
        ``FPR 0.01`` or, where no rate was asked for, ``τ 0.7``.
    """
    ds = found["thresholds"]
    return [f"FPR {rate:g}" if np.isfinite(rate) else f"τ {number(tau)}"
            for rate, tau in zip(ds["rate_wanted"].values, ds["tau"].values, strict=True)]  # fmt: skip


def _note(found: Mapping[str, xr.Dataset]) -> str:
    """What the scorer says of itself."""
    note = str(found["thresholds"].attrs.get("scorer_note", ""))
    return f"{note.rstrip('.')}. " if note else ""


def _intervals(ds: xr.Dataset) -> str:
    """Which interval is shown."""
    text = f"Intervals: {interval_of(ds)[1]}"
    text += ": rows of one host share its pixels." if ds.attrs["interval"] == "host" else "."
    derived = ds.attrs.get("derived")
    return f"{text} {derived[0].upper()}{derived[1:]}." if derived else text


def funnel(found: xr.Dataset) -> Table:
    """Rows planned, rendered, valid and recovered, and why rows were lost."""
    rows: list[list[object]] = [[k, int(found[f"n_{k}"])] for k in ("planned", "rendered", "valid")]
    rows += [[f"recovered, threshold {k}", int(n)] for k, n in enumerate(found["n_recovered"].values)]
    lost = found["n_lost"]
    rows += [[f"lost: {r}", int(n)] for r, n in zip(lost["reason"].values, lost.values, strict=True) if n]
    return Table("Injection rows", [words("rows"), "number"], rows)


def thresholds(found: Mapping[str, xr.Dataset]) -> Table:
    """Every threshold with its false-positive rate and the completeness of all rows."""
    ds, whole = found["thresholds"], found["curves"].sel(curve="all")
    rows = []
    for k in range(ds.sizes["threshold"]):
        at = {"threshold": k}
        rate = Estimate.in_dataset(ds.isel(at), "true_rate")
        here = shown(whole.isel(at))
        drawn = ds.isel(at)
        of_rate = Estimate.in_dataset(drawn, "completeness_at_rate") if "completeness_at_rate" in ds else None
        note = "unsure" if bool(drawn["unsure"]) else ""
        achieved = int(drawn["false_positives"])
        marked = Cell(rate, "warn" if note else "", note)
        rows.append([float(drawn["tau"]), achieved if achieved >= 0 else None, marked, here, of_rate])
    return Table(
        "Thresholds",
        ["tau", "false positives", "true rate", Column("completeness at tau", write=3),
         Column("at the rate", write=3)],
        rows,
        f"At tau: the threshold is taken as given. At the rate: it is drawn again with the hosts. {_intervals(whole)}",
    )  # fmt: skip


def roc(found: xr.Dataset) -> Table:
    """Recovered share at the false-positive rates and counts that lens searches work at; the whole area last."""
    ds = found.drop_vars("n_hosts")
    n = int(ds["n_negatives"])
    rows: list[list[object]] = []
    for k, rate in enumerate(ds["fpr"].values):
        unsure = bool(ds["unsure"].values[k]) and bool(np.isfinite(ds["tpr"].values[k]))
        value = Estimate.in_dataset(ds.isel(fpr=k), "tpr")
        rows.append([f"at a false-positive rate of {rate:g}", Cell(value, "warn" if unsure else "", "unsure" * unsure)])
    for k, m in enumerate(ds["false_positives"].values):
        rows.append([f"at {int(m)} false positives", Estimate.in_dataset(ds.isel(false_positives=k), "tpr_at")])
    rows.append(["area below a rate of 0.01, over its width", Estimate.in_dataset(ds, "area")])
    rows.append(["AUROC, all rates", Estimate.in_dataset(ds, "auroc")])
    return Table(
        "ROC where lenses are searched", [words("recovered"), Column("share", write=3)], rows,
        f"{int(ds['n_rows']):,} injections, {n:,} negatives. Unsure: fewer than ten false positives; rates below 1 / "
        f"{n:,} cannot be set. An AUROC says little where lenses are one in a thousand.",
    )  # fmt: skip


def roc_in_bins(ds: xr.Dataset) -> Table:
    """Recovered share of each resolution bin at the rates that these negatives can set."""
    known = [k for k, rate in enumerate(ds["fpr"].values) if rate * int(ds["n_negatives"]) >= 1 - 1e-9]
    rows: list[list[object]] = []
    for label in ds["resolution"].values:
        one = ds.sel(resolution=label)
        if int(one["n_rows"]) == 0:
            continue
        cells = []
        for k in known:
            unsure = bool(ds["unsure"].values[k])
            value = Estimate.in_dataset(one.isel(fpr=k), "tpr")
            cells.append(Cell(value, "warn" if unsure else "", "unsure" * unsure))
        rows.append([str(label), int(one["n_rows"]), *cells])
    heads = [Column(f"at {ds['fpr'].values[k]:g}", write=3) for k in known]
    return Table(
        "Recovered at false-positive rates, by theta_E over PSF size", [words("bin"), "rows", *heads], rows,
        "The threshold is drawn again with the hosts. Unsure: fewer than ten false positives.",
    )  # fmt: skip


def curves(ds: xr.Dataset, variable: str, title: str, threshold: int = 0) -> Table:
    """The three curves over the bins of one variable; cells with too few rows or hosts are marked."""
    one, (interval, _) = ds.isel(threshold=threshold), interval_of(ds)
    kept = {"value": "completeness", "low": f"{interval}_low", "high": f"{interval}_high"}
    counts = ("n_planned", "n_valid", "n_hosts", "one_host", "few")
    # As arrays: a page has a thousand cells, and a Dataset of each takes a third of a second.
    cell = {name: one[name].transpose("curve", variable).values for name in (*kept.values(), *counts)}
    of_all = [str(c) for c in ds["curve"].values].index("all")
    rows = []
    for k, label in enumerate(ds[variable].values):
        if int(cell["n_planned"][of_all, k]) == 0 and not bool(ds[f"{variable}_is_inside"][k]):
            continue
        cells = []
        for c in range(ds.sizes["curve"]):
            note = "one host" if cell["one_host"][c, k] else "few" if cell["few"][c, k] else ""
            value = {name: float(cell[kept[name]][c, k]) for name in kept}
            found = Estimate(**value, n_hosts=int(cell["n_hosts"][c, k]))
            cells.append(Cell(found, "faint" if note else "", note))
        rows.append([str(label), int(cell["n_valid"][of_all, k]), int(cell["n_hosts"][of_all, k]), *cells])
    if ds.sizes["threshold"] > 1:
        title = f"{title}, first threshold"
    heads = [Column(str(c).replace("_", " "), write=3) for c in ds["curve"].values]
    return Table(title, [words("bin"), "rows", "hosts", *heads], rows, _intervals(ds))


def area(found: Mapping[str, xr.Dataset], threshold: int = 0) -> Table:
    """Averages over the survey's area: of all rows, and in the bins of the Einstein radius; curve ``all``."""
    at = {"threshold": threshold}
    by_bin = found["area_theta_e_arcsec"].sel(curve="all").isel(at)
    parts = {"all": found["area"].sel(curve="all").isel(at)}
    parts |= {str(label): by_bin.isel(theta_e_arcsec=k) for k, label in enumerate(by_bin["theta_e_arcsec"].values)}
    rows: list[list[object]] = []
    for label, one in parts.items():
        few = "" if bool(one["tested"]) else "not tested"
        mark = "faint" if few else ""
        value = Cell(Estimate.in_dataset(one, "completeness"), mark, few)
        rows.append([label, value, float(one["untested_share"]), number(float(one["effective_area_deg2"]))])
    sky = found["area"].attrs
    return Table(
        "Averages over the survey's area",
        [words("theta_E"), Column("completeness", write=3), Column("untested share", write=2), "effective area, deg2"],
        rows,
        f"{number(sky['area_deg2'])} deg2 in cells of PSF size and depth; a cell with few hosts is untested. The "
        "effective area is that of the tested cells, times their completeness. "
        f"{number(sky['unobserved_deg2'])} deg2 of the table were not observed.",
    )


def tells_of_sky(found: Mapping[str, xr.Dataset]) -> bool:
    """Whether false positives per square degree and purity are known."""
    return "sky" in found and not str(found["sky"].attrs["reason"])


def sky(ds: xr.Dataset) -> Table:
    """False positives, lenses found and purity at each threshold."""
    names = ("false_positives_per_deg2", "found_per_deg2", "purity")
    every = [ds.isel(threshold=k) for k in range(ds.sizes["threshold"])]
    return Table(
        "What a search finds in a square degree",
        ["threshold", "false positives", "lenses found", Column("purity", write=3)],
        [[k, *(Estimate.in_dataset(one, n) for n in names)] for k, one in enumerate(every)],
        f"Lenses: {ds.attrs['population']}. Completeness of {ds.attrs['completeness_of']}. Negatives: "
        f"{ds.attrs['negatives']}.",
    )


def populations(ds: xr.Dataset) -> Table:
    """Completeness of other populations of lenses, with what it rests on."""
    rows: list[list[object]] = []
    for k, name in enumerate(ds["population"].values):
        for t in range(ds.sizes["threshold"]):
            one = ds.isel(population=k, threshold=t)
            verdict = str(one["verdict"].item()).replace("_", " ")
            note = verdict if verdict != "TESTED" else "rough" if bool(one["rough"]) else ""
            value = Cell(Estimate.in_dataset(one, "completeness"), "warn" if note else "", note)
            ends = [fixed(float(one[f"{end}_bound"]), 3) for end in ("low", "high")]
            rows.append([str(name), t, value, float(one["n_det"]), float(one["n_eff"]), float(one["uncovered"]),
                         f"{ends[0]} to {ends[1]}", str(one["method"].item())])  # fmt: skip
    said = [f"{name}: {text}" for name, text in dict.fromkeys(
        (str(one["population"].item()), str(one[what].item()))
        for k in range(ds.sizes["population"]) for t in range(ds.sizes["threshold"])
        for one in (ds.isel(population=k, threshold=t),) for what in ("target", "reason", "notes")
    ) if text]  # fmt: skip
    return Table(
        "Other populations of lenses",
        [words("population"), "threshold", Column("completeness", write=3), Column("N_det", write=0),
         Column("N_eff", write=0), Column("not injected", write=3), words("for all of it"), words("by")],
        rows,
        "All valid rows, weighed. The completeness is of the part that was injected, the bounds are for all of it. "
        "N_det: effective number of recovered rows; below 10 nothing is claimed, below 30 it is rough. N_eff / 4: most "
        f"lenses that a fit may use this set for. {'. '.join(said)}.",
    )  # fmt: skip


def required(gate: GateResult) -> Table:
    """What was required of a completeness, and each verdict."""
    findings = [Finding.from_dict(f) for f in gate.findings]
    style = {Status.OK: "good", Status.ALARM: "bad", Status.NOT_TESTED: "warn"}
    rows = [
        [f.where, f.found if f.found.is_measured else None, f.expected, Cell(_verdict_of(f), style[f.status])]
        for f in findings
    ]
    heads: list[Column | str] = [words("rows", wrap=True), Column("completeness", write=3), "above", words("verdict")]
    return Table(f"Required: {gate.verdict}", heads, rows, f"{gate.reason}. {gate.recipe['interval']}")


def _verdict_of(f: Finding) -> str:
    if f.status is Status.NOT_TESTED:
        return "INCONCLUSIVE" if f.found.is_measured else "NOT TESTABLE"
    return "PASS" if f.status is Status.OK else "FAIL"


def tables(found: Mapping[str, xr.Dataset]) -> list[Table]:
    """All tables, in the order of a page; where nothing can be measured, the funnel alone."""
    if "thresholds" not in found:
        return [funnel(found["funnel"])]
    out = [funnel(found["funnel"]), thresholds(found)]
    if "roc" in found:
        out.append(roc(found["roc"]))
    if "area" in found:
        out.append(area(found))
    if tells_of_sky(found):
        out.append(sky(found["sky"]))
    if "populations" in found:
        out.append(populations(found["populations"]))
    if "roc_resolution" in found:
        out.append(roc_in_bins(found["roc_resolution"]))
    out.append(curves(found["resolution"], "resolution", "Resolution: theta_E over PSF size"))
    out.append(curves(found["resolution_fwhm"], "resolution_fwhm", "Resolution: theta_E over the profile's FWHM"))
    for name, ds in found.items():
        if name.startswith("stratum_"):
            variable = name.removeprefix("stratum_")
            inside = np.asarray(ds["n_planned"].sel(curve="all").values)
            if inside.sum():
                out.append(curves(ds, variable, variable.replace("_", " ")))
    return out
