"""The ten checks of an export, which read what was written as a stranger would."""

from lensflow.export.check.results import CheckResult, CheckVerdict, ExportCheck
from lensflow.export.check.run_checks import check_export

__all__ = ["CheckResult", "CheckVerdict", "ExportCheck", "check_export"]
