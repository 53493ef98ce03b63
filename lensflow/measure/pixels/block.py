"""One block of pairs in memory, as measurements read it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import xarray as xr

from lensflow.config import DiagnosticsConfig
from lensflow.measure.pixels.differences import Differences
from lensflow.measure.pixels.origin import Origin, with_arc_steps
from lensflow.measure.pixels.specimens import specimens_of
from lensflow.stats.kept_rows import KeptRows


@dataclass(frozen=True, eq=False)
class Block:
    """A block of pairs, its origin, and quantities shared by several measurements, computed once.

    Attributes
    ----------
    pairs : Dataset
        With ``stamp``, ``ctrl``, ``arc`` (sample, band, y, x), nMgy/pixel, and the columns of manifest and metrics.
    config : DiagnosticsConfig
        Strata and rings.
    origin : Origin, optional
        What the block was made from; without it no stamp is made again, and arcs are taken to have no core mask.
    """

    pairs: xr.Dataset
    config: DiagnosticsConfig = field(default_factory=DiagnosticsConfig)
    origin: Origin | None = None

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the bands."""
        return tuple(str(b) for b in self.pairs["band"].values)

    @property
    def stamp_size(self) -> int:
        """Pixels along a stamp's side."""
        return int(self.pairs.sizes["x"])

    @property
    def pixel_scale_arcsec(self) -> float:
        """Pixel scale, arcsec; NaN if the pairs do not give it."""
        return float(self.pairs.attrs.get("pixel_scale_arcsec", np.nan))

    @property
    def last_key(self) -> int | None:
        """Rows are rendered again up to this hash of their ids; None: all."""
        return self.origin.last_key if self.origin else None

    @cached_property
    def differences(self) -> Differences:
        """Sums over rings of stamp less control of the injection rows: one compiled pass over the pixels."""
        return Differences.from_block(self.pairs, self.config)

    @cached_property
    def with_arc_steps(self) -> xr.Dataset:
        """The pairs with the steps that their arcs were rounded to."""
        return with_arc_steps(self.pairs, self.origin)

    @cached_property
    def specimens(self) -> KeptRows:
        """A few complete rows, for tests that render."""
        return specimens_of(self.with_arc_steps, self.last_key)
