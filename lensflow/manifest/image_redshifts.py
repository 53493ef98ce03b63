"""Images as sources at their own redshift, or moved to the plan's: which image a row gets, and what it looks like."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lensflow.config import RunConfig
from lensflow.errors import ManifestError
from lensflow.manifest.draws import Draws
from lensflow.manifest.galaxies import GalaxyDraw
from lensflow.manifest.image_sources import NO_IMAGE, image_numbers, open_bank, redshifts_of, split_of_sources
from lensflow.manifest.lens_priors import lens_redshifts
from lensflow.manifest.moved_images import NATIVE_NM, image_wavelengths_nm
from lensflow.manifest.source_bank import SourceBank
from lensflow.manifest.source_table import SourceTable
from lensflow.schema import SPLITS

Floats = NDArray[np.float64]


class ImagesByRedshift:
    """The images of each split, sorted by redshift.

    Parameters
    ----------
    config : RunConfig
    bank : SourceBank, optional
        By default the one that ``plan.sources`` names.

    Raises
    ------
    ManifestError
        If an image has no redshift.
    ConfigError
        If a magnitude is to be moved in a band whose wavelength is not known.
    """

    def __init__(self, config: RunConfig, bank: SourceBank | None = None):
        settings = config.plan.sources
        assert settings is not None
        self.config, self.settings = config, settings
        bank = bank or open_bank(settings)
        self.bank = bank
        ids = np.sort(np.array(bank.ids))
        z = redshifts_of(bank, ids)
        home = split_of_sources(ids, config.splits.fractions, config.seed)
        # The spectrum is the plan's colours at the source's redshift, the light that of i at the image's: the reverse
        # of a galaxy whose own bands are known. Where no magnitude is moved, no spectrum is needed.
        needed = image_wavelengths_nm(config.bands) if settings.magnitude == "native" else [1.0, 1e9]
        self._bands_nm = tuple(NATIVE_NM**2 / nm for nm in needed)
        self._of: dict[int, GalaxyDraw] = {}
        for code in range(len(SPLITS)):
            own = np.flatnonzero(home == code)
            own = own[np.lexsort((ids[own], z[own]))]
            if own.size:
                self._of[code] = GalaxyDraw(_as_table(ids[own], z[own], self._bands_nm), (NATIVE_NM,), 1)

    def draw(self, row_id: NDArray[np.uint64], split: NDArray[np.uint8], z: Floats) -> NDArray[np.str_]:
        """Image of every row, from those of its split.

        Parameters
        ----------
        row_id, split : ndarray, shape (n,)
        z : ndarray, shape (n,)
            Redshift of the lens (``redshift: own``; NaN: any image) or of the source (``moved``).

        Returns
        -------
        ndarray of str, shape (n,)
            "" for rows with a Sersic source, ``NO_IMAGE`` for those that no image fits (``no_image: drop``).

        Raises
        ------
        ManifestError
            If rows find no image, with ``no_image: error``; if a split has rows and no image.
        """
        with_image, u = image_numbers(self.settings, row_id, self.config.seed)
        out = np.zeros(len(row_id), dtype="U32")
        for code, name in enumerate(SPLITS):
            rows = np.flatnonzero(with_image & (split == code))
            if not rows.size:
                continue
            if code not in self._of:
                raise ManifestError(f"plan.sources: no image falls into the split {name!r}, which has {rows.size} rows")
            draw = self._of[code]
            place = draw.behind(z[rows], u[rows]) if self.settings.redshift == "own" else draw.movable(z[rows], u[rows])
            out[rows] = np.where(place >= 0, draw.table.name[place], NO_IMAGE)
        lost = out == NO_IMAGE
        if lost.any() and self.settings.no_image == "error":
            what = "is behind the lens" if self.settings.redshift == "own" else "can be moved to the source's redshift"
            raise ManifestError(
                f"plan.sources: for {int(lost.sum()):,} of {int(with_image.sum()):,} rows (the first at z = "
                f"{float(z[np.argmax(lost)]):.3g}) no image of their split {what}"
                + ("" if self.settings.redshift == "own" else ", within the wavelengths of the run's bands")
                + ". Give more images, nearer lenses or other redshifts, or choose no_image: drop (left out, counted)."
            )
        return out


def _as_table(ids: NDArray[np.str_], z: Floats, bands_nm: Sequence[float]) -> SourceTable:
    ones = np.ones(len(ids))
    places = np.arange(len(ids))
    return SourceTable(
        "plan.sources", ("",) * len(bands_nm), tuple(bands_nm), places, ids, z, np.zeros((len(ids), len(bands_nm))),
        ones, ones,
    )  # fmt: skip


def images_behind(draws: Draws, images: ImagesByRedshift, split: NDArray[np.uint8]) -> NDArray[np.str_]:
    """Image of every row, behind its lens and by its cross-section; see :meth:`ImagesByRedshift.draw`."""
    return images.draw(draws.row_id, split, lens_redshifts(draws))
