"""The ten checks of an export, which read what was written as a stranger would."""

from lensflow.export.check.results import CheckResult, CheckVerdict, ExportCheck

__all__ = ["CheckResult", "CheckVerdict", "ExportCheck"]
