"""The certificate that a view or an export stands on."""

from __future__ import annotations

from lensflow.config import RunConfig
from lensflow.errors import CertificateError, ExportError, StaleStoreError
from lensflow.export.view import Certified
from lensflow.measure.gate.verdicts import Verdict
from lensflow.run.certify import check_step
from lensflow.store import paths
from lensflow.store.run_folder import RunFolder


def certified(config: RunConfig) -> Certified:
    """Read a run's certificate, compare it with the run, and refuse verdicts that the settings do not allow.

    Parameters
    ----------
    config : RunConfig
        ``export.allow_verdicts`` names verdicts other than PASS.

    Returns
    -------
    Certified

    Raises
    ------
    ExportError
        If there is no certificate, or its verdict is not allowed.
    StaleStoreError
        If it is not one of the content that is there.
    """
    folder = RunFolder.of(config)
    if not paths.exists(folder.certificate):
        raise ExportError(
            f"{folder.certificate}: no certificate, and nothing is exported without one. `lensflow certify "
            f"{folder.root}` writes it."
        )
    try:
        checked = check_step(config, quick=True)
    except CertificateError as error:
        raise StaleStoreError(f"the certificate is of another content than the run: {error}") from error
    verdict, reason = checked.verdict, str(checked.certificate["reason"])
    if verdict != Verdict.PASS and verdict not in config.export.allow_verdicts:
        raise ExportError(
            f"{folder.root}: the certificate says {verdict} ({reason}). Nothing is exported unless "
            f"export.allow_verdicts: [{verdict}] says that this is meant; the verdict then stands in the export."
        )
    return Certified(verdict, reason, str(checked.certificate["seal"]))
