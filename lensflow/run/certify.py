"""Write a run's certificate, and compare a run with its certificate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lensflow.config import RunConfig
from lensflow.errors import CertificateError, StoreError
from lensflow.measure.gate import GateResult
from lensflow.run import signing
from lensflow.run.certificate import NOT_BOUND, differences, make_certificate, parse_certificate, signed_bytes
from lensflow.run.certified import alike, openings_of, openings_since, state_of, stored_gates, summaries_of
from lensflow.run.execute import Progress, silent
from lensflow.run.identity import cutouts_content, pairs_content, refuse_other_settings
from lensflow.run.make_run import library_versions
from lensflow.run.measure import measure_step
from lensflow.run.required_completeness import completeness_gates, completeness_required
from lensflow.run.required_realism import realism_gates, realism_required
from lensflow.run.required_scorers import score_required
from lensflow.run.verify import verify_step
from lensflow.show.lines import as_html, as_text
from lensflow.stats import codec
from lensflow.store import create, paths, resume
from lensflow.store.open import read_attrs
from lensflow.store.run_folder import RunFolder

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

MAX_DAMAGE = 20


@dataclass(frozen=True, repr=False)
class Checked:
    """A run that is as certified, as far as it was checked.

    Attributes
    ----------
    certificate : dict
    looked_at, left_out, notes : tuple of str
        What was compared, what was not, and what a reader should know beside that.
    """

    certificate: dict[str, Any]
    looked_at: tuple[str, ...]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """The certificate's verdict over the required gates."""
        return str(self.certificate["verdict"])

    def _lines(self) -> list[tuple[str, str]]:
        rows = [("verdict", f"{self.verdict}. {self.certificate['reason']}"), ("made", str(self.certificate["made"]))]
        return [*rows, *(("", line) for line in (*self.looked_at, *self.left_out, *self.notes))]

    def __repr__(self) -> str:
        """Verdict, date, what was compared and what was not. The certificate itself: :attr:`certificate`."""
        return as_text("As certified", self._lines())

    def _repr_html_(self) -> str:
        return as_html("As certified", self._lines())


def certify_step(
    config: RunConfig, progress: Progress = silent, *, key: Ed25519PrivateKey | None = None
) -> dict[str, Any]:
    """Read a finished run back, measure and gate it, and write its certificate.

    Stored results are not used, however new: diagnostics and gates are computed here, from the pixels whose digests the
    certificate holds, and replace the stored ones. The certificate is in ``certificate.json`` of the run's folder; the
    pairs carry its seal and verdict in their attrs.

    Parameters
    ----------
    config : RunConfig
    progress : callable, optional
    key : Ed25519PrivateKey, optional
        Of :func:`lensflow.run.signing.read_private_key`; the certificate is signed with it.

    Returns
    -------
    dict
        The certificate, whatever its verdict.

    Raises
    ------
    StoreError
        If cutouts or pairs are not complete, or anything stored is not as it was written.
    """
    folder = RunFolder.of(config)
    completeness_gates(config)  # a requirement without a scorer is refused before any work
    realism_gates(config)
    refuse_other_settings(config)
    cutouts_content(config)
    pairs_content(config)
    if damage := verify_step(config.out, progress=progress).damage:
        raise StoreError(
            f"{folder.root}: {len(damage)} thing(s) are not as they were written, so nothing is certified:\n  "
            + "\n  ".join(map(str, damage[:MAX_DAMAGE]))
            + f"\n`lensflow verify {folder.root} --repair` restores what it can."
        )
    # Digests before measurements: data changed in between no longer match the certificate.
    state = state_of(config, progress)
    _, gates = measure_step(config, progress, again=True)
    gates = [*gates, *score_required(config, progress), *completeness_required(config, gates, progress)]
    gates += realism_required(config, progress)
    state["run"]["code"] |= {"measured_by": resume.measuring_code_fingerprint()}
    state["run"]["versions"] = library_versions()
    made = datetime.now(UTC).isoformat(timespec="seconds")
    # Openings up to this moment are certified; later ones are recognised by their time.
    state |= {"summaries": summaries_of(config), "test_access": openings_of(folder)}
    certificate = make_certificate(state, gates, made, signing.public_key_of(key) if key else None)
    if key:
        certificate["signature"] = signing.sign(key, signed_bytes(certificate))
    paths.write_json(folder.certificate, certificate)
    create.write_attrs(folder.pairs, {"certificate": {k: certificate[k] for k in ("seal", "verdict", "made")}})
    return certificate


def check_step(
    config: RunConfig,
    progress: Progress = silent,
    *,
    quick: bool = False,
    full: bool = False,
    public_key: str | None = None,
) -> Checked:
    """Compare a run with its certificate; nothing is written.

    Parameters
    ----------
    config : RunConfig
    progress : callable, optional
    quick : bool
        Do not read the objects of regions (pixels, metrics, flags), only their names and sizes.
    full : bool
        Compute diagnostics and gates again from the stored pixels, and compare them with the certified ones.
    public_key : str, optional
        64 hex digits, as :func:`lensflow.run.signing.read_public_key` gives them: who must have signed.

    Raises
    ------
    StoreError
        If there is no certificate.
    CertificateError
        If anything is not as certified; the message names each difference.
    """
    folder = RunFolder.of(config)
    content = paths.read_object(folder.certificate)
    if content is None:
        raise StoreError(f"{folder.certificate}: no certificate. `lensflow certify` writes one.")
    certificate = parse_certificate(content, folder.certificate)
    signed, found = _signature(certificate, public_key)
    state = state_of(config, progress, regions=not quick)
    _forget_news(config, certificate, state)
    found += differences(certificate, state, stored_gates(config))
    found += _carried(folder, certificate) + _backdated(folder, certificate)
    if not quick and certificate["data"] != state["data"]:
        # The digests show that something changed; the receipts may show where.
        found += _places(config, progress)
    if not found and full:
        found += _measured_again(config, certificate, progress)
    if found:
        raise CertificateError(
            f"{folder.certificate}: {len(found)} thing(s) are not as certified:\n  " + "\n  ".join(found)
            + "\nRestore the certified state, or certify the present one with lensflow certify."
        )  # fmt: skip
    return _checked(folder, certificate, state, signed, quick, full)


def gates_of(certificate: Mapping[str, Any]) -> list[GateResult]:
    """Gates of a certificate."""
    return [GateResult.from_dict(g) for g in certificate["gates"]]


def _forget_news(config: RunConfig, certificate: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Leave out settings unknown to the certificate's lensflow, if they have no effect."""
    known, changed, settings = certificate["run"]["settings"], config.changed(), state["run"]["settings"]
    for name in [k for k in settings if k not in known and k not in changed]:
        del settings[name]


def _signature(certificate: Mapping[str, Any], public_key: str | None) -> tuple[str, list[str]]:
    """What is to be said of a certificate's signature, and what is wrong with it."""
    signer, signature = certificate["signer"], certificate["signature"]
    if signer is None or signature is None:
        if public_key:
            return "", ["the certificate is not signed: nothing shows that the holder of this key made it"]
        if signer is not None or signature is not None:
            return "", ["the certificate itself was edited: its signature or its signer was taken away"]
        return f"The certificate is not signed ({certificate['protection']}).", []
    if not public_key and not signing.available():
        return f"Signed with the key {signer}, which was not verified: pip install 'lensflow[sign]'.", []
    if public_key and signer != public_key:
        return "", [f"the certificate is signed by another key ({signer}), not by this one ({public_key})"]
    if not signing.is_signed_by(signer, signed_bytes(certificate), signature):
        return "", ["the signature is not one of this certificate: it was edited after it was signed"]
    if public_key:
        return f"Signed by the holder of this key ({signer}).", []
    return (
        f"The signature is one by the key {signer}. The certificate cannot say whose key that is: --public-key FILE "
        f"compares it with one that you trust."
    ), []


def _carried(folder: RunFolder, certificate: Mapping[str, Any]) -> list[str]:
    try:
        carried = read_attrs(folder.pairs, "pairs").get("certificate")
    except StoreError as error:
        return [str(error)]
    expected = {k: certificate[k] for k in ("seal", "verdict", "made")}
    return [] if carried == expected else ["the pairs carry the seal of another certificate, or none"]


def _backdated(folder: RunFolder, certificate: Mapping[str, Any]) -> list[str]:
    """Openings of the test split from before the certificate was made, which it does not know."""
    early = [o for o in openings_since(folder, certificate) if str(o.get("when", "")) < certificate["made"]]
    return [f"test-access: an opening of {o.get('when')} did not exist when the run was certified" for o in early]


def _places(config: RunConfig, progress: Progress) -> list[str]:
    """Differences of the stores from their receipts."""
    try:
        refuse_other_settings(config)
        damage = verify_step(config.out, progress=progress).damage
    except StoreError as error:
        return [str(error)]
    out = [str(d) for d in damage[:MAX_DAMAGE]]
    return out + ([f"{len(damage) - MAX_DAMAGE} more like these"] if len(damage) > MAX_DAMAGE else [])


def _measured_again(config: RunConfig, certificate: Mapping[str, Any], progress: Progress) -> list[str]:
    """Diagnostics and gates whose results differ from the certified ones."""
    results, gates = measure_step(config, progress, again=True, keep=False)
    of_scorers = score_required(config, progress, keep=False)
    gates = [*gates, *of_scorers, *completeness_required(config, gates, progress, keep=False)]
    gates += realism_required(config, progress, keep=False)
    out = []
    certified = {g["name"]: g for g in certificate["gates"]}
    now = {g.name: g.to_dict() for g in gates}
    for name in sorted({*certified, *now}):
        then, again = certified.get(name), now.get(name)
        if then is None or again is None:
            out.append(f"gate {name}: {'was not certified' if then is None else 'is not one of these settings'}")
        elif then["verdict"] != again["verdict"]:
            out.append(
                f"gate {name}: certified {then['verdict']}, computed again {again['verdict']}: {again['reason']}"
            )
        elif not alike(then, again):
            keys = [k for k in again if not alike(then.get(k), again[k])]
            out.append(f"gate {name}: other numbers when computed again ({', '.join(keys)})")
    stored: Any = paths.read_json(RunFolder.of(config).diagnostics)
    fresh = codec.encode(results)
    out += [
        f"diagnostic {k}: other numbers when computed again"
        for k in fresh
        if not alike(stored["results"].get(k), fresh[k])
    ]
    if out and (code := resume.measuring_code_fingerprint()) != certificate["run"]["code"]["measured_by"]:
        out.append(
            f"(computed by other code, {code}, than certified, {certificate['run']['code']['measured_by']}: the "
            "lensflow that certified the run can tell whether that is why)"
        )
    return out


def _checked(
    folder: RunFolder, certificate: dict[str, Any], state: Mapping[str, Any], signed: str, quick: bool, full: bool
) -> Checked:
    data = state["data"].values()
    size = f"{sum(d['objects'] for d in data):,} objects, {sum(d['bytes'] for d in data) / 1e6:,.1f} MB"
    looked_at = [
        "Compared: the certificate with itself, name and settings, every attribute of cutouts, manifest and pairs, "
        "their receipts and records, diagnostics.json, gates.json, results of required scorers, the log of the test "
        "split's openings; "
        + ("the hosts' catalogue and the whole manifest, byte for byte." if quick else f"every stored byte ({size}).")
    ]
    left_out = [f"Not bound, so not compared: {', '.join(NOT_BOUND)}."]
    if full:
        looked_at.append(
            f"Computed again from the stored pixels, and alike: every diagnostic and {len(certificate['gates'])} gates."
        )
    else:
        left_out.insert(0, "Not computed again: diagnostics and verdicts; `lensflow certify --check --full` does.")
    if quick:
        left_out.insert(
            0,
            "Not read: the bytes of pixels, metrics and flags, and of the hosts' measurements, only names and sizes of "
            "their objects; `lensflow certify --check` without --quick reads them.",
        )
    notes = [signed]
    certified, here = certificate["run"]["code"]["measured_by"], resume.measuring_code_fingerprint()
    if certified != here:
        notes.append(f"Measured by other code ({certified}) than is installed here ({here}).")
    if since := openings_since(folder, certificate):
        last = since[-1]
        notes.append(
            f"The test split was opened {len(since)} time(s) since the certificate was made, last on "
            f"{last.get('when')} by {last.get('who')}: {last.get('why')}"
        )
    return Checked(certificate, tuple(looked_at), tuple(left_out), tuple(notes))
