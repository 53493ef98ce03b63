"""The certificate: what the gates said, bound to the settings and the bytes that they said it about."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from lensflow.errors import CertificateError
from lensflow.gates.verdicts import GateResult, Verdict

VERSION = 1
# The worst verdict of a required gate is the certificate's; gates that were not run count as errors.
_WORST_FIRST = (Verdict.ERROR, Verdict.FAIL, Verdict.NOT_TESTABLE, Verdict.INCONCLUSIVE, Verdict.EXPLAINED)


def make_certificate(
    run: Mapping[str, Any],
    data: Mapping[str, Mapping[str, Any]],
    gates: Sequence[GateResult],
    required: Sequence[str],
    made: str,
    accept_explained: bool = False,
) -> dict[str, Any]:
    """Bind gates to a run.

    Parameters
    ----------
    run : mapping
        Name, settings and versions: what the run was.
    data : mapping
        Store -> ``content`` (fingerprint of its bytes) and, where it has regions, ``regions`` (number -> fingerprint);
        for the pairs also ``rows`` and ``parts``: how many rows are covered, and the plans that they come from.
    gates : sequence of GateResult
    required : sequence of str
        Names of the gates that must pass.
    made : str
        Date and time.
    accept_explained : bool
        Whether EXPLAINED counts as passed; the certificate says so.

    Returns
    -------
    dict
        Plain JSON types, sealed: ``seal`` is a SHA-256 of all the rest.
    """
    verdict, reason = overall(gates, required, accept_explained)
    certificate = {
        "lensflow_certificate": VERSION,
        "made": made,
        "verdict": str(verdict),
        "reason": reason,
        "required": list(required),
        "accept_explained": accept_explained,
        "run": dict(run),
        "data": {name: dict(store) for name, store in data.items()},
        "gates": [g.to_dict() for g in gates],
    }
    return {**certificate, "seal": seal_of(certificate)}


def overall(
    gates: Sequence[GateResult], required: Sequence[str], accept_explained: bool = False
) -> tuple[Verdict, str]:
    """PASS if every required gate passes, else the worst of their verdicts; with the reason."""
    by_name = {g.name: g for g in gates}
    absent = [name for name in required if name not in by_name]
    if absent or not required:
        return Verdict.ERROR, f"not run: {', '.join(absent)}" if absent else "no gate is required"
    for verdict in _WORST_FIRST:
        found = [n for n in required if by_name[n].verdict is verdict and not by_name[n].passes(accept_explained)]
        if found:
            return verdict, f"{by_name[found[0]].name}: {by_name[found[0]].reason}"
    explained = [n for n in required if by_name[n].verdict is Verdict.EXPLAINED]
    accepted = f"; of these, explained by the arcs and accepted: {', '.join(explained)}" if explained else ""
    return Verdict.PASS, f"{', '.join(required)} passed{accepted}"


def seal_of(certificate: Mapping[str, Any]) -> str:
    """SHA-256 of a certificate's content without its seal, whatever the order of its keys."""
    content = {k: v for k, v in certificate.items() if k != "seal"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def differences(
    certificate: Mapping[str, Any],
    run: Mapping[str, Any],
    data: Mapping[str, Mapping[str, Any]],
    gates: Sequence[GateResult] | None,
) -> list[str]:
    """What is not as certified, in words; empty if all is.

    Parameters
    ----------
    certificate : mapping
    run, data
        As for :func:`make_certificate`, of what is there now.
    gates : sequence of GateResult, or None
        The stored results; None if there are none for these settings and bytes.

    Raises
    ------
    CertificateError
        If it is not a certificate of this version.
    """
    if certificate.get("lensflow_certificate") != VERSION or not {"seal", "run", "data", "gates"} <= set(certificate):
        raise CertificateError(
            f"not a certificate of version {VERSION} (found {certificate.get('lensflow_certificate')!r}): make a new "
            "one with lensflow certify"
        )
    out = []
    if certificate["seal"] != seal_of(certificate):
        out.append("the certificate itself was edited: its seal does not fit its content")
    then, now = certificate["run"], run
    out += [
        f"run.{key}: certified {then.get(key)!r}, now {now.get(key)!r}"
        for key in sorted({*then, *now} - {"versions", "code"})
        if then.get(key) != now.get(key)
    ]
    for store in sorted({*certificate["data"], *data}):
        out += _changed(store, certificate["data"].get(store), data.get(store))
    if gates is None:
        out.append("the stored gate results are gone or of other settings or bytes")
    elif json.dumps([g.to_dict() for g in gates]) != json.dumps(certificate["gates"]):
        out.append("the stored gate results are not the certified ones")
    return out


def _changed(store: str, then: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> list[str]:
    if then is None or now is None:
        return [f"{store}: {'was not certified' if then is None else 'cannot be read any more'}"]
    now = {k: v for k, v in now.items() if k in then}  # a certificate of an older lensflow knows less
    if then == now:
        return []
    if then.get("rows") != now.get("rows"):
        return [f"{store}: certified for {then['rows']:,} rows, there are {now['rows']:,} now: certify the run again"]
    before, after = then.get("regions", {}), now.get("regions", {})
    changed = sorted(int(k) for k in {*before, *after} if before.get(k) != after.get(k))
    if not changed:
        return [f"{store}: content {then.get('content')}, now {now.get('content')}"]
    shown = ", ".join(map(str, changed[:8])) + (" ..." if len(changed) > 8 else "")
    return [f"{store}: {len(changed)} of {len(before)} regions have other checksums: {shown}"]
