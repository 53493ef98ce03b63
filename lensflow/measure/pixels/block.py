"""One block of pairs in memory, as measurements read it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.config import DiagnosticsConfig
from lensflow.measure.pixels.differences import Differences
from lensflow.measure.pixels.origin import Origin, arc_steps
from lensflow.measure.pixels.specimens import complete_rows, specimens_of
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
    def arc_steps(self) -> NDArray[np.float32]:
        """The steps that the arcs were rounded to, nMgy, (sample, band)."""
        return arc_steps(self.pairs, self.origin)

    def complete_rows(self, rows: NDArray[np.int64]) -> xr.Dataset:
        """Take rows as :func:`lensflow.measure.pixels.specimens.complete_rows` does, with the steps of their arcs."""
        return complete_rows(self.pairs, rows, self.arc_steps)

    @cached_property
    def specimens(self) -> KeptRows:
        """A few complete rows, for tests that render."""
        key = self.origin.specimen_key if self.origin else None
        return specimens_of(self.pairs, self.last_key if key is None else key, self.arc_steps)
