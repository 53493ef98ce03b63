"""Write a run's certificate, and hold a run against the one that it has."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import lensflow
from lensflow.config import RunConfig, fingerprint
from lensflow.errors import CertificateError, StoreError
from lensflow.gates import GateResult
from lensflow.gates.certificate import differences, make_certificate
from lensflow.steps.execute import Progress, silent
from lensflow.steps.identity import cutouts_content, pairs_content
from lensflow.steps.measure import gate_step, stored_gates
from lensflow.steps.run_folder import RunFolder
from lensflow.steps.sources import dataset_content
from lensflow.steps.verify import verify_step
from lensflow.store import create, objects, paths, receipts, resume
from lensflow.store.open import open_manifest, read_attrs

COMPARED = (
    "Compared: settings, the manifest's rows, attributes and checksums of every store as its receipts give them, the "
    "gate results"
)
# What is said after a check: with the stores read back, and without.
REREAD = f"{COMPARED}; and every stored value with its checksum."
NOT_REREAD = (
    f"{COMPARED}. Not read again: pixels, metrics and flags of cutouts and pairs, and the columns of the cutouts; "
    "`lensflow certify --check` without --quick reads them."
)

MAX_DAMAGE = 20


def certify_step(config: RunConfig, progress: Progress = silent) -> dict[str, Any]:
    """Gate a finished run if that is not done yet, and write its certificate.

    It stands in ``certificate.json`` of the run's folder; the pairs carry its seal and verdict in their attrs.

    Returns
    -------
    dict
        The certificate, whatever its verdict.

    Raises
    ------
    StoreError
        If cutouts or pairs are not complete.
    """
    folder = RunFolder.of(config)
    data = _data(config)
    gates = gate_step(config, progress)
    made = datetime.now(UTC).isoformat(timespec="seconds")
    certificate = make_certificate(_run(config), data, gates, config.gate.must_pass, made, config.gate.accept_explained)
    paths.write_json(folder.certificate, certificate)
    create.write_attrs(folder.pairs, {"certificate": {k: certificate[k] for k in ("seal", "verdict", "made")}})
    return certificate


def check_step(config: RunConfig, progress: Progress = silent, *, reread: bool = True) -> dict[str, Any]:
    """Hold a run against its certificate.

    Parameters
    ----------
    config : RunConfig
    progress : callable, optional
    reread : bool
        Read the stores back and compare every value with its checksum, as ``lensflow verify`` does. Without, a
        changed pixel under an unchanged receipt goes unnoticed.

    Returns
    -------
    dict
        The certificate, if everything is as certified.

    Raises
    ------
    StoreError
        If there is no certificate.
    CertificateError
        If anything is not as certified; the message names each difference.
    """
    folder = RunFolder.of(config)
    if not paths.exists(folder.certificate):
        raise StoreError(f"{folder.certificate}: no certificate. `lensflow certify` writes one.")
    certificate = paths.read_json(folder.certificate)
    found: list[str] = []
    data: dict[str, dict[str, Any]] = {}
    gates: list[GateResult] | None = None
    try:
        data, gates = _data(config), stored_gates(config)
    except StoreError as error:
        found.append(str(error))
    if not found:
        found = differences(certificate, _run(config), data, gates)
        carried = read_attrs(folder.pairs, "pairs").get("certificate")
        if not isinstance(carried, dict) or carried.get("seal") != certificate["seal"]:
            found.append("the pairs carry the seal of another certificate, or none")
    if reread:
        damage = verify_step(config.out, progress=progress).damage
        found += [str(d) for d in damage[:MAX_DAMAGE]]
        found += [f"{len(damage) - MAX_DAMAGE} more like these"] if len(damage) > MAX_DAMAGE else []
    if found:
        raise CertificateError(
            f"{folder.certificate}: {len(found)} thing(s) are not as certified:\n  " + "\n  ".join(found)
            + "\nRestore what was certified, or certify what is there now with lensflow certify."
        )  # fmt: skip
    return dict(certificate)


def gates_of(certificate: Mapping[str, Any]) -> list[GateResult]:
    """Gates of a certificate."""
    return [GateResult.from_dict(g) for g in certificate["gates"]]


def _run(config: RunConfig) -> dict[str, Any]:
    settings = config.settings_of("gates")
    return {
        "name": config.name,
        "fingerprint": fingerprint(settings),
        "pairs_fingerprint": str(read_attrs(RunFolder.of(config).pairs, "pairs").get("fingerprint")),
        "code": resume.code_fingerprint(),
        "versions": {"lensflow": lensflow.__version__},
    }


def _data(config: RunConfig) -> dict[str, dict[str, Any]]:
    folder = RunFolder.of(config)
    attrs = read_attrs(folder.pairs, "pairs")
    covered = {"rows": attrs.get("n_rows"), "parts": attrs.get("parts")}
    return {
        "cutouts": {"content": cutouts_content(config), "regions": _regions(folder.receipts("cutouts"))},
        "manifest": {
            "content": fingerprint(
                dataset_content(open_manifest(folder.manifest)), objects.read_created(folder.manifest).meaning
            )
        },
        "pairs": {"content": pairs_content(config), "regions": _regions(folder.receipts("pairs")), **covered},
    }


def _regions(folder: str) -> dict[str, str]:
    return {str(k): fingerprint(r.checksums) for k, r in sorted(receipts.read_receipts(folder).items())}
