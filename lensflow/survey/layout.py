"""File names of a survey, below any fsspec root."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lensflow.config.layouts import PATTERNS, pattern_problem
from lensflow.config.place import like, parent
from lensflow.errors import SurveyError

BAND_PRODUCTS = ("image", "invvar", "psfsize", "nexp")
PRODUCTS = (*BAND_PRODUCTS, "maskbits")
PSF_IMAGE = "psf"
PSF_PATTERNS = {
    "legacysurvey": "{root}/coadd/{brick3}/{brick}/coadd-psf-{brick}.fits",
    "flat": "{root}/coadd-psf-{brick}.fits",
}
# The band and the separator before it: both are dropped if a product has no band.
_BAND = re.compile(r"[-_.]?\{band\}")


@dataclass(frozen=True)
class Layout:
    """File names of a survey.

    Parameters
    ----------
    root : str
        Folder of the survey, any fsspec URL.
    kind : str
        ``legacysurvey``: ``coadd/{brick[:3]}/{brick}/`` below root, as DR9 and DR10 have it; ``flat``: all files in
        root; or a pattern with {brick}, {product} and {band}, and where wanted {root} (first) and {brick3}, the
        brick's first three characters. Products without bands (maskbits, psf) drop {band} and the ``-``, ``_`` or
        ``.`` before it. Names that end in .gz are read whole and unpacked.

    Raises
    ------
    SurveyError
        If the pattern cannot be used.
    """

    root: str
    kind: str = "legacysurvey"

    def __post_init__(self) -> None:
        problem = pattern_problem(self.kind)
        if problem is not None:
            raise SurveyError(f"survey.layout: {problem}")

    def path(self, brick: str, product: str, band: str = "") -> str:
        """Path or URL of one file.

        Raises
        ------
        SurveyError
            If the product is unknown, or needs a band and has none.
        """
        if product not in (*PRODUCTS, PSF_IMAGE):
            raise SurveyError(f"no survey product {product!r}; known: {', '.join(PRODUCTS)}, {PSF_IMAGE}")
        if (product in BAND_PRODUCTS) != bool(band):
            raise SurveyError(f"{product} {'needs a band' if product in BAND_PRODUCTS else 'has no bands'}")
        pattern = PATTERNS.get(self.kind, self.kind)
        if product == PSF_IMAGE:
            pattern = PSF_PATTERNS.get(self.kind, pattern)
        if "{root}" not in pattern:
            pattern = "{root}/" + pattern.lstrip("/")
        if not band:
            pattern = _BAND.sub("", pattern)
        path = pattern.format(root=self.root.rstrip("/"), brick=brick, brick3=brick[:3], product=product, band=band)
        return like(self.root, path)

    def folders(self, brick: str, bands: tuple[str, ...]) -> tuple[str, ...]:
        """Folders with the images of a brick: one, unless the pattern separates products or bands."""
        return tuple(dict.fromkeys(parent(self.path(brick, "image", band)) for band in bands))
