"""The certificate: the gates' verdicts, bound to the settings, the code and the data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from lensflow.config.base import first_problem
from lensflow.errors import CertificateError
from lensflow.measure.gate.verdicts import GateResult, Verdict

VERSION = 2
# The worst verdict of a required gate is the certificate's; missing gates count as errors.
_WORST_FIRST = (Verdict.ERROR, Verdict.FAIL, Verdict.NOT_TESTABLE, Verdict.INCONCLUSIVE, Verdict.EXPLAINED)

UNSIGNED = "checksums only: shows accidents, not forgery"
SIGNED = "signed: reveals forgery to anyone with the signer's public key"
# A changed list needs a new version: a certificate lists what its own version leaves out.
NOT_BOUND = (
    "report",
    "core",
    "survey",
    "summaries but for diagnostics.json, gates.json and those of required scorers",
    "settings that decide no number (cluster, storage, budgets)",
    "seconds and memory in receipts",
    "openings of the test split after the certificate was made",
)
# Not sealed and signed.
_OUTSIDE = ("seal", "signature")
_SHOWN = 8


class _Store(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    rows: int | None = None
    plans: list[Any] | None = None
    digest: str
    objects: int
    bytes: int
    names_and_sizes: str
    parts: dict[str, str]
    receipts: dict[str, str]


class _Run(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    name: str
    settings: dict[str, Any]
    code: dict[str, str]
    versions: dict[str, str]


class _Shape(BaseModel):
    """Required fields of every certificate, for a safe comparison."""

    model_config = ConfigDict(strict=True, extra="forbid")

    lensflow_certificate: int
    made: str
    verdict: str
    reason: str
    required: list[str]
    accept_explained: bool
    protection: str
    signer: str | None
    run: _Run
    data: dict[str, _Store]
    summaries: dict[str, str | None]
    test_access: dict[str, str]
    gates: list[dict[str, Any]]
    not_bound: list[str]
    seal: str
    signature: str | None


def make_certificate(
    state: Mapping[str, Any], gates: Sequence[GateResult], made: str, signer: str | None = None
) -> dict[str, Any]:
    """Bind gates to a run.

    Parameters
    ----------
    state : mapping
        ``required`` and ``accept_explained``, as the settings say; ``run`` (name, settings, code, versions), ``data``
        (store -> digests), ``summaries`` and ``test_access`` (file -> digest): what the folder holds.
    gates : sequence of GateResult
    made : str
        Date and time.
    signer : str, optional
        Public key, 64 hex digits, of whoever is about to sign it.

    Returns
    -------
    dict
        Plain JSON types, sealed and without signature: ``seal`` is a SHA-256 of all the rest.
    """
    verdict, reason = overall(gates, state["required"], state["accept_explained"])
    certificate = {
        "lensflow_certificate": VERSION,
        "made": made,
        "verdict": str(verdict),
        "reason": reason,
        "required": list(state["required"]),
        "accept_explained": state["accept_explained"],
        "protection": SIGNED if signer else UNSIGNED,
        "signer": signer,
        **{name: dict(state[name]) for name in ("run", "data", "summaries", "test_access")},
        "gates": [g.to_dict() for g in gates],
        "not_bound": list(NOT_BOUND),
    }
    return {**certificate, "seal": seal_of(certificate), "signature": None}


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


def signed_bytes(certificate: Mapping[str, Any]) -> bytes:
    """The signed bytes: the content without seal and signature, independent of the order of its keys.

    JSON with sorted keys, no blanks and ASCII only, after a line that no other document begins with.
    """
    content = {k: v for k, v in certificate.items() if k not in _OUTSIDE}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f"lensflow certificate {VERSION}\n{text}".encode()


def seal_of(certificate: Mapping[str, Any]) -> str:
    """SHA-256 of a certificate's content: anybody can compute it, so it only detects accidents."""
    return hashlib.sha256(signed_bytes(certificate)).hexdigest()


def parse_certificate(content: bytes, place: str) -> dict[str, Any]:
    """Read a certificate.

    Raises
    ------
    CertificateError
        If it is not a certificate of this version.
    """
    try:
        value = json.loads(content.decode(), parse_constant=_no_number, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise CertificateError(f"{place}: not valid JSON ({error}). {_NEW}") from error
    found = value.get("lensflow_certificate") if isinstance(value, dict) else None
    if found != VERSION:
        what = "it binds less than this lensflow asks for" if found == 1 else f"found {found!r}"
        raise CertificateError(f"{place}: not a certificate of version {VERSION} ({what}). {_NEW}")
    try:
        _Shape.model_validate(value)
    except ValidationError as error:
        raise CertificateError(f"{place}: edited, or not a certificate: {first_problem(error)}. {_NEW}") from error
    return dict(value)


_NEW = "`lensflow certify` makes a new one."


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object with unique keys: readers could differ in their choice between duplicates."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key is given twice")
    return value


def differences(
    certificate: Mapping[str, Any], state: Mapping[str, Any], gates: Sequence[Mapping[str, Any]] | None
) -> list[str]:
    """Differences from the certificate, in words; empty if there are none.

    Parameters
    ----------
    certificate : mapping
        As :func:`parse_certificate` gives it.
    state : mapping
        As for :func:`make_certificate`, of what is there now, versions left out. Parts of a store that were not read
        are left out of its ``parts``, and ``unread`` names them.
    gates : sequence of mapping, or None
        The stored results; None if there are none.
    """
    out = _of_itself(certificate)
    out += [
        f"{name}: certified {certificate[name]!r}, by the settings {state[name]!r}"
        for name in ("required", "accept_explained")
        if certificate[name] != state[name]
    ]
    out += _settings(certificate["run"], state["run"])
    for store in sorted({*certificate["data"], *state["data"]}):
        out += _changed(store, certificate["data"].get(store), state["data"].get(store))
    for name in sorted({*certificate["summaries"], *state["summaries"]}):
        then, now = certificate["summaries"].get(name), state["summaries"].get(name)
        if then != now:
            out.append(f"summaries/{name}: {_fate(then, now)}")
    out += [
        f"test-access/{name}: {_fate(digest, state['test_access'].get(name))} (an opening of the test split)"
        for name, digest in certificate["test_access"].items()
        if state["test_access"].get(name) != digest
    ]
    if gates is not None and [dict(g) for g in gates] != certificate["gates"]:
        out.append("the stored gate results are not the certified ones")
    return out


def _of_itself(certificate: Mapping[str, Any]) -> list[str]:
    """Whether a certificate agrees with its own numbers."""
    out = []
    try:
        if certificate["seal"] != seal_of(certificate):
            out.append("the certificate itself was edited: its seal does not fit its content")
        gates = [GateResult.from_dict(g) for g in certificate["gates"]]
        verdict, reason = overall(gates, certificate["required"], certificate["accept_explained"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        return [*out, f"the certificate itself was edited: its gates cannot be read ({error})"]
    if (certificate["verdict"], certificate["reason"]) != (str(verdict), reason):
        out.append(f"the certificate says {certificate['verdict']}, but from its own gates follows {verdict}: {reason}")
    if certificate["not_bound"] != list(NOT_BOUND) or certificate["protection"] != (
        SIGNED if certificate["signer"] else UNSIGNED
    ):
        out.append("the certificate itself was edited: what it says of its own reach is not what lensflow writes")
    return out


def _settings(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    out = []
    if then["name"] != now["name"]:
        out.append(f"name: certified {then['name']!r}, now {now['name']!r}")
    out += [
        f"code, {k}: certified {then['code'].get(k)!r}, the run's own files say {v!r}"
        for k, v in now["code"].items()
        if then["code"].get(k) != v
    ]
    was, is_now = then["settings"], now["settings"]
    keys = sorted(k for k in {*was, *is_now} if (k in was, was.get(k)) != (k in is_now, is_now.get(k)))
    out += [f"settings, {k}: certified {was.get(k)!r}, now {is_now.get(k)!r}" for k in keys[:_SHOWN]]
    out += [f"settings: {len(keys) - _SHOWN} more differ"] if len(keys) > _SHOWN else []
    return out


def _changed(store: str, then: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> list[str]:
    if then is None or now is None:
        return [f"{store}: {'was not certified' if then is None else 'cannot be read any more'}"]
    if then.get("rows") != now.get("rows"):
        return [f"{store}: certified for {then.get('rows')} rows, there are {now.get('rows')}: certify the run again"]
    unread = set(now.get("unread", ()))
    out = [
        f"{store}, {name.replace('/', ' ', 1)}: {_fate(then['parts'].get(name), now['parts'].get(name))}"
        for name in sorted({*then["parts"], *now["parts"]} - unread, key=_by_number)
        if then["parts"].get(name) != now["parts"].get(name)
    ]
    out += [
        f"receipts/{store}/{name}: {_fate(then['receipts'].get(name), now['receipts'].get(name))}"
        for name in sorted({*then["receipts"], *now["receipts"]})
        if then["receipts"].get(name) != now["receipts"].get(name)
    ]
    if not out and then.get("plans") != now.get("plans"):
        out.append(f"{store}: the certificate itself was edited: its plans are not those of the store")
    if not out and then["names_and_sizes"] != now["names_and_sizes"]:
        out.append(f"{store}: names or sizes of its objects are not the certified ones")
    if (
        not out
        and not unread
        and (then["digest"], then["objects"], then["bytes"])
        != (
            now["digest"],
            now["objects"],
            now["bytes"],
        )
    ):
        out.append(f"{store}: the certificate itself was edited: its digest does not fit its parts")
    return out if len(out) <= _SHOWN else [*out[:_SHOWN], f"{store}: {len(out) - _SHOWN} more like these"]


def _by_number(name: str) -> tuple[str, int, str]:
    kind, _, rest = name.partition("/")
    return kind, int(rest) if rest.isdigit() else -1, rest


def _fate(then: str | None, now: str | None) -> str:
    if then is None:
        return "did not exist when the run was certified"
    return "is gone" if now is None else "is not what was certified"
