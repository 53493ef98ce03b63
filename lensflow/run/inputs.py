"""Read the inputs of every step of a run before the first step starts."""

from __future__ import annotations

from lensflow.config import RunConfig
from lensflow.errors import ConfigError, did_you_mean
from lensflow.survey.synthetic.sky import BANDS as SYNTHETIC_BANDS


def read_inputs(config: RunConfig) -> None:
    """Raise for an input that would stop a later step: the plan's table, its images, bands that a survey lacks.

    Raises
    ------
    ConfigError, ManifestError
    """
    if config.survey.synthetic is not None:
        lacking = [b for b in config.bands if b not in SYNTHETIC_BANDS]
        if lacking:
            raise ConfigError(
                f"bands: the synthetic survey has {', '.join(SYNTHETIC_BANDS)}, not {', '.join(lacking)}."
                f"{did_you_mean(lacking[0], SYNTHETIC_BANDS)} Take it out of bands, or use a survey that has it."
            )
    plan = config.plan
    if plan.table is not None:
        from lensflow.manifest.table import read_injection_table

        read_injection_table(plan.table, config.bands, plan.table_ignore)
    if plan.source_table is not None:
        from lensflow.manifest.draw_galaxies import galaxy_draw

        galaxy_draw(config)
    if plan.sources is not None:
        from lensflow.manifest.image_sources import bank_of

        bank = bank_of(config)
        if plan.sources.redshift != "plan":
            from lensflow.manifest.image_redshifts import ImagesByRedshift

            ImagesByRedshift(config, bank)
