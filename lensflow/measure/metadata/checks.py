"""Gates without a fit: conditions on the rows themselves, and the diagnostics' findings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from lensflow.config import fingerprint
from lensflow.config.checks import GATE_CHECKS
from lensflow.errors import GateError
from lensflow.measure.gate.verdicts import GateResult, Verdict
from lensflow.measure.metadata.arcs import SAME_ARC
from lensflow.measure.metadata.priors import LEVEL as LEVEL_OF_PRIORS
from lensflow.measure.metadata.priors import SMALL_CORRELATION, SMALL_SHARE
from lensflow.measure.metadata.splits import judge_splits
from lensflow.measure.pixels import DIAGNOSTICS, KINDS, Finding, Kind, Status, findings
from lensflow.measure.pixels.balance_judge import KS_P
from lensflow.measure.pixels.exchange import EXCHANGES, LEAST_HOSTS, LEVEL
from lensflow.measure.pixels.judges import (
    LEAST_OVER_HOST,
    LEAST_PEAK_SNR,
    LEAST_SEEN_SHARE,
    LOCALISATION,
    LOCALISED_SHARE,
)
from lensflow.measure.pixels.judging import ALARM
from lensflow.survey.textures import SAME_TEXTURE
from lensflow.survey.twins import MOVED_PIX, Twins

# Every comparison of the first is needed, and any of the others: else nobody looked for a pedestal or a wrong renderer.
_NEEDED, _NEEDED_ANY = "annulus", ("psf", "rendering")


def run_checks(
    names: Iterable[str],
    results: Mapping[str, xr.Dataset],
    hosts: xr.Dataset,
    manifest: xr.Dataset,
    guard_arcsec: float,
    priors: Sequence[Finding] = (),
    twins: Twins | None = None,
    same_image: Mapping[str, str] | None = None,
    kinds: Sequence[Kind[Finding]] = KINDS,
) -> list[GateResult]:
    """Judge a run by its diagnostics and its tables.

    Parameters
    ----------
    names : iterable of str
        Of ``GATE_CHECKS``.
    results : mapping of Dataset
        The diagnostics' results.
    hosts, manifest : Dataset
        All rows, with the columns that :func:`lensflow.targets.splits.check_splits` compares.
    guard_arcsec : float
        Hosts of different splits must lie further apart.
    priors : sequence of Finding
        From :func:`lensflow.measure.metadata.priors.prior_findings` and
        :func:`lensflow.measure.metadata.arcs.arc_findings`, for ``priors``.
    twins : Twins, optional
        Hosts that show the same pixels, for the check ``splits``.
    same_image : mapping, optional
        Name of a source to the first name of the same image, for the check ``splits``.
    kinds : sequence of Kind, optional
        What made the results, with the judge of each.

    Returns
    -------
    list of GateResult
        Each with ``findings`` and without an area. PASS needs every comparison made and none of them an alarm; only
        ``diagnostics`` passes without those that the run's settings rule out, and names them.

    Raises
    ------
    GateError
        If a name is unknown.
    """
    found, added = findings(results, kinds), [k.name for k in kinds if k.name not in DIAGNOSTICS]
    balance = [f for f in found if f.diagnostic == "balance"]
    light = [f for f in found if f.check == LOCALISATION]
    seen = [f for f in found if f.diagnostic == "visibility"]
    judges = {
        "balance": (_all_of, balance),
        "localisation": (_all_of, light),
        "visibility": (_all_of, seen),
        "priors": (_all_of, list(priors)),
        "diagnostics": (_rest, [f for f in found if f not in (*balance, *light, *seen)]),
    }
    out = []
    for name in names:
        if name not in GATE_CHECKS:
            raise GateError(f"no check {name!r}, only {', '.join(GATE_CHECKS)}")
        recipe = {"check": GATE_CHECKS[name], **_limits(name, guard_arcsec)}
        if name == "diagnostics" and added:
            recipe["also"] = added
        n_rows, n_hosts = manifest.sizes["sample"], hosts.sizes["host"]
        gate = GateResult(name, recipe, fingerprint(recipe), np.nan, Verdict.ERROR, "not run", n_rows, n_hosts)
        if name == "splits":
            out.append(judge_splits(gate, hosts, manifest, guard_arcsec, twins, same_image))
        else:
            judge, looked_at = judges[name]
            out.append(judge(_with(gate, looked_at), looked_at))
    return out


def _with(gate: GateResult, found: Sequence[Finding]) -> GateResult:
    return replace(gate, findings=tuple(f.to_dict() for f in found))


def _limits(name: str, guard_arcsec: float) -> dict[str, Any]:
    if name == "splits":
        return {"guard_arcsec": guard_arcsec, "same_texture": SAME_TEXTURE, "moved_pix": MOVED_PIX}
    if name == "priors":
        return {
            "level": LEVEL_OF_PRIORS,
            "small_correlation": SMALL_CORRELATION,
            "small_share": SMALL_SHARE,
            "same_arc": SAME_ARC,
        }
    if name == "localisation":
        return {"least_share": LOCALISED_SHARE}
    if name == "visibility":
        return {
            "least_seen_share": LEAST_SEEN_SHARE,
            "least_peak_snr": LEAST_PEAK_SNR,
            "least_arc_over_host": LEAST_OVER_HOST,
        }
    if name == "balance":
        rule = (
            f"a difference beyond what {EXCHANGES} exchanges of values between hosts give in any column or place of "
            f"{100 * LEVEL:g} % of sound runs, and beyond a tolerance"
        )
        return {"alarm": rule, "least_hosts": LEAST_HOSTS, "ks_p": KS_P}
    rule = (
        f"an expectation further away than {ALARM:g} half-widths of the 95 % interval (more with few hosts) and than a "
        "tolerance"
    )
    return {"alarm": rule}


def _all_of(gate: GateResult, found: Sequence[Finding]) -> GateResult:
    """Pass only where every comparison was made and is as expected."""
    untested = [f for f in found if f.status is Status.NOT_TESTED]
    if _alarms(found):
        return _failed(gate, found)
    if untested or not found:
        why = f"{untested[0].check}: {untested[0].text}" if untested else "the diagnostic was not run"
        return gate.decided(Verdict.NOT_TESTABLE, why)
    worst = "; ".join(f"{f.check} {f.value:.3g}{_within(f)}{_at(f)}" for f in found)
    return gate.decided(Verdict.PASS, f"as expected: {worst}")


def _rest(gate: GateResult, found: Sequence[Finding]) -> GateResult:
    """Pass without the comparisons that a run's settings rule out, if those are left that matter most."""
    if _alarms(found):
        return _failed(gate, found)
    tested = [f for f in found if f.status is Status.OK]
    untested = [f for f in found if f.status is Status.NOT_TESTED]
    reasons = "; ".join(f"{f.diagnostic}, {f.check}: {f.text}" for f in untested)
    seen = {f.diagnostic for f in tested}
    if _NEEDED not in seen - {f.diagnostic for f in untested} or not seen.intersection(_NEEDED_ANY):
        return gate.decided(Verdict.NOT_TESTABLE, f"not tested: {reasons or 'the diagnostics were not run'}")
    text = f"{len(tested)} comparisons are as expected" + (f"; not tested: {reasons}" if untested else "")
    return gate.decided(Verdict.PASS, text)


def _alarms(found: Sequence[Finding]) -> list[Finding]:
    return [f for f in found if f.status is Status.ALARM]


def _failed(gate: GateResult, found: Sequence[Finding]) -> GateResult:
    alarms = _alarms(found)
    first = alarms[0]
    text = f"{first.diagnostic}, {first.check}{_at(first)}: {first.value:.4g}{_within(first)}"
    text += f", {'at least ' if first.diagnostic == 'visibility' else ''}{first.expected:.4g} expected"
    others = ", ".join(f"{f.diagnostic} ({f.check})" for f in alarms[1:])
    return gate.decided(Verdict.FAIL, text + (f"; and {others}" if others else ""))


def _within(found: Finding) -> str:
    return f" [{found.found.low:.4g}, {found.found.high:.4g}]" if found.found.is_measured else ""


def _at(found: Finding) -> str:
    return f" ({found.where})" if found.where else ""


def findings_of(gate: GateResult) -> list[Finding]:
    """Comparisons of a gate without a fit."""
    return [Finding.from_dict(f) for f in gate.findings]
