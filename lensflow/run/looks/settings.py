"""Checks of the settings alone."""

from __future__ import annotations

from collections.abc import Iterator

from lensflow.run.looks.base import Finding, Level, Seen


def gain_tables(seen: Seen) -> Iterator[Finding]:
    """Check that every band has the settings for the arcs' photon noise."""
    config = seen.config
    injection = config.injection
    tables = {"invvar": ("sky_mag_arcsec2",), "exposure": ("exposure_time_s", "electrons_per_s_per_nmgy")}[
        injection.gain
    ]
    missing = [f"injection.{t}.{b}" for t in tables for b in config.bands if b not in (getattr(injection, t) or {})]
    if injection.noise and missing:
        yield Finding("settings", Level.FAIL, f"no value for {', '.join(missing)}", "Give one for every band.")
    else:
        yield Finding("settings", Level.OK, f"bands {', '.join(config.bands)}, seed {config.seed}")
