"""What an export says of its run: settings, survey, certificate."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

from lensflow._version import __version__
from lensflow.config import RunConfig, fingerprint
from lensflow.errors import ExportError
from lensflow.run.certificate import parse_certificate
from lensflow.run.export.non_lenses import table_content
from lensflow.run.export.real_lenses import realism_of
from lensflow.run.export.tagged import tags_content
from lensflow.run.identity import pairs_content
from lensflow.store import paths, resume
from lensflow.store.run_folder import RunFolder

LEGACY_TERMS = "https://www.legacysurvey.org/acknowledgment/"
_UNKNOWN_LICENSE = (
    "The licence of the imaging is that of its survey, whose terms lensflow does not know: see the survey, and name it "
    "with export.license and export.acknowledgement before these data are published."
)


def about_run(config: RunConfig, out: str) -> dict[str, Any]:
    """Everything that ``export.json`` holds beside the view, as plain JSON.

    Parameters
    ----------
    config : RunConfig
        Its section ``export`` as it was used.
    out : str
        Folder of the export: the run's is named from there, so that no path of this machine is handed on.

    Returns
    -------
    dict
        ``run``, ``survey``, ``certificate``, ``realism``, ``settings``, ``view``, ``version``, ``made``, ``check``.

    Raises
    ------
    ExportError
        If there is no certificate.
    """
    folder = RunFolder.of(config)
    sealed = paths.read_object(folder.certificate)
    if sealed is None:
        raise ExportError(f"{folder.certificate}: no certificate. `lensflow certify {folder.root}` writes one.")
    certificate = parse_certificate(sealed, folder.certificate)
    named = ("name", "verdict", "auc", "auc_low", "auc_high", "reason")
    return {
        "view": config.export.view,
        "version": config.export.version,
        "made": datetime.now(UTC).date().isoformat(),
        "run": {
            "name": config.name,
            "path": _from(folder.root, out),
            "seed": config.seed,
            # Of what decides pixels and verdicts, not of how and where they were computed: workers change no byte.
            "config_digest": fingerprint(config.settings_of("gates")),
            "content": pairs_content(config),
            **({"non_lenses": content} if (content := table_content(config)) else {}),
            **({"tags": content} if (content := tags_content(config)) else {}),
            "version": __version__,
            "code": resume.code_fingerprint(),
        },
        "survey": _survey(config),
        "certificate": {
            **{k: certificate[k] for k in ("verdict", "reason", "seal", "made")},
            "gates": [{k: g[k] for k in named if k in g} for g in certificate["gates"]],
        },
        "realism": realism_of(config),
        "settings": _settings(config, out),
        "check": {},
    }


def _settings(config: RunConfig, out: str) -> dict[str, Any]:
    """The section ``export``; a file of tags is named as the run is."""
    settings = config.export.model_dump(mode="json")
    return settings | ({"tags": _from(settings["tags"], out)} if settings["tags"] else {})


def _from(run: str, out: str) -> str:
    """A URL as it is; a run on this machine by its way from the export, by its name alone from one that is not."""
    if not paths.is_local(run):
        return str.__str__(run)
    if not paths.is_local(out):
        return _name(run)
    return os.path.relpath(paths.local_path(run).absolute(), paths.local_path(out).absolute())


def _survey(config: RunConfig) -> dict[str, Any]:
    survey, given = config.survey, config.export
    legacy = survey.root is not None and survey.layout == "legacysurvey"
    url = given.url or (LEGACY_TERMS if legacy else "https://example.invalid/not-published")
    return {
        "source": _source(config),
        "hosts": _hosts(config),
        "license": given.license or "other",
        "license_url": given.license_url or url,
        "url": url,
        "creator": given.creator or f"the authors of the run {config.name}",
        "acknowledgement": given.acknowledgement
        or (f"{_UNKNOWN_LICENSE} Legacy Surveys: {LEGACY_TERMS}" if legacy else _UNKNOWN_LICENSE),
        "citation": given.citation or f"Run {config.name}, made with lensflow {__version__}",
    }


def _source(config: RunConfig) -> str:
    survey = config.survey
    if survey.synthetic is not None:
        return "a synthetic survey that lensflow drew: no real pixels"
    if survey.stamps is not None:
        return f"stamps from {', '.join(sorted({_name(f) for f in survey.stamps.files.values()}))}"
    return f"imaging in the layout {survey.layout}, {_name(survey.root or '')}"


def _hosts(config: RunConfig) -> str:
    survey = config.survey
    if survey.synthetic is not None:
        return "drawn with the synthetic survey"
    given = survey.targets if survey.stamps is None else survey.stamps.hosts
    listed = (given,) if isinstance(given, str) else (given or ())
    return ", ".join(_name(t) for t in listed) or "given in memory"


def _name(place: str) -> str:
    """A URL; of a path on this machine, its name alone."""
    return str.__str__(place) if not paths.is_local(place) else str(place).rstrip("/").rpartition("/")[2]


def header(about: dict[str, Any], form: str) -> dict[str, str]:
    """What every file of an export says of it.

    Parameters
    ----------
    about : dict
        As :func:`about_run` gives it.
    form : str
        The format.

    Returns
    -------
    dict of str
    """
    return {
        "lensflow.export": "1",
        "lensflow.format": form,
        "lensflow.view": about["view"],
        "lensflow.run": about["run"]["name"],
        "lensflow.config_digest": about["run"]["config_digest"],
        "lensflow.certificate_verdict": about["certificate"]["verdict"],
        "lensflow.certificate_seal": about["certificate"]["seal"],
        "lensflow.realism_verdict": about["realism"]["verdict"],
    }


def lasting(about: dict[str, Any]) -> dict[str, Any]:
    """The part that decides the files: an interrupted export continues under the same, on another day too."""
    return {k: v for k, v in about.items() if k not in ("made", "check")}
