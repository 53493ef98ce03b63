"""What a loader reads: an opened view, a run, or an export; and its settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lensflow.config import LoaderConfig, RunConfig
from lensflow.config.base import first_problem
from lensflow.errors import ConfigError, ExportError, did_you_mean
from lensflow.export.formats.folder import is_export
from lensflow.export.view import TrainingView
from lensflow.run.export.open_view import open_view
from lensflow.run.open_run import Run, open_run


def loader_settings(
    source: Any, settings: LoaderConfig | None, options: Mapping[str, Any]
) -> tuple[LoaderConfig, dict[str, Any]]:
    """Settings of a loader, and the options that are not for it.

    Parameters
    ----------
    source : TrainingView, Run, RunConfig or path
        Whose section ``training`` is taken where ``settings`` is None.
    settings : LoaderConfig or None
    options : mapping
        Of loader and view.

    Returns
    -------
    LoaderConfig, dict

    Raises
    ------
    ConfigError
        If a setting is wrong.
    """
    names = LoaderConfig.model_fields
    mine = {k: v for k, v in options.items() if k in names}
    rest = {k: v for k, v in options.items() if k not in names}
    if settings is None:
        section = _section_of(source)
        settings = LoaderConfig(**{k: getattr(section, k) for k in names}) if section is not None else LoaderConfig()
    try:
        plain = {k: getattr(settings, k) for k in names}
        return LoaderConfig.model_validate({**plain, **mine}), rest
    except ValidationError as error:
        raise ConfigError(f"training.{first_problem(error)}") from None


def _section_of(source: Any) -> Any:
    if isinstance(source, RunConfig):
        return source.training
    if isinstance(source, Run):
        return source.config.training
    if isinstance(source, TrainingView) or is_export(str(source)):
        return None
    return open_run(source).config.training


def as_view(source: Any, split: str, options: Mapping[str, Any]) -> TrainingView:
    """Open what a loader is given.

    Parameters
    ----------
    source : TrainingView, Run, RunConfig or path
    split : str
    options : mapping
        Of :func:`lensflow.run.export.open_view.open_view`; an opened view and an export take none.

    Returns
    -------
    TrainingView

    Raises
    ------
    ExportError
        If options are given that cannot be applied.
    """
    if isinstance(source, TrainingView):
        _refuse(options, "an opened view")
        return source
    if isinstance(source, str | Path) and is_export(str(source)):
        from lensflow.run.export.exported import open_exported

        unseal = {k: v for k, v in options.items() if k == "unseal_test"}
        _refuse({k: v for k, v in options.items() if k not in unseal}, f"{source}, an export")
        return open_exported(str(source), split, **unseal)
    return open_view(source, split=split, **options)


def _refuse(options: Mapping[str, Any], what: str) -> None:
    if options:
        name = next(iter(options))
        raise ExportError(
            f"{name}: no setting of a loader, and {what} has its own of all others."
            f"{did_you_mean(name, LoaderConfig.model_fields)}"
        )
