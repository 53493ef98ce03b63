"""File names of a survey, below any fsspec root."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lensflow.config import SurveyConfig
from lensflow.config.layouts import (
    BAND_PRODUCTS,
    PATTERNS,
    PLANES,
    PRODUCTS,
    PSF_IMAGE,
    Weights,
    one_file,
    pattern_problem,
)
from lensflow.config.place import like, parent
from lensflow.errors import SurveyError

__all__ = ["BAND_PRODUCTS", "PRODUCTS", "PSF_IMAGE", "Layout"]
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
        root; or a pattern with {brick}, {product} and {band}, and where wanted {root} (first), {brick3}, the brick's
        first three characters, {tile}, the brick up to its first ``_``, {tract} and {patch}, the brick before and after
        its first ``-``. Products without bands (maskbits, psf) drop {band} and the ``-``, ``_`` or ``.`` before it.
        Names that end in .gz are read whole and unpacked. A pattern without {product} is one file with all planes.
    band_names, product_names : mapping
        Names in the files' names, where they are others than here.
    masks_by_band : bool
        Whether every band has a mask of its own; always so where one file holds all planes of a band.
    weights : {"invvar", "variance", "rms"}
        What the files of the product invvar hold.

    Raises
    ------
    SurveyError
        If the pattern cannot be used.
    """

    root: str
    kind: str = "legacysurvey"
    band_names: Mapping[str, str] = field(default_factory=dict)
    product_names: Mapping[str, str] = field(default_factory=dict)
    masks_by_band: bool = False
    weights: Weights = "invvar"

    @classmethod
    def of(cls, survey: SurveyConfig) -> Layout:
        """Layout of a config's survey, which has a root."""
        assert survey.root is not None
        return cls(
            survey.root, survey.layout, survey.band_names, survey.product_names, survey.masks_by_band, survey.weights
        )

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
        banded = product in BAND_PRODUCTS or (product == "maskbits" and self.mask_bands("x") == ("x",))
        if banded != bool(band):
            raise SurveyError(f"{product} {'needs a band' if banded else 'has no bands'}")
        pattern = PATTERNS.get(self.kind, self.kind)
        if product == PSF_IMAGE:
            pattern = PSF_PATTERNS.get(self.kind, pattern)
        if "{root}" not in pattern:
            pattern = "{root}/" + pattern.lstrip("/")
        if not band:
            pattern = _BAND.sub("", pattern)
        tract, _, patch = brick.partition("-")
        path = pattern.format(
            root=self.root.rstrip("/"),
            brick=brick,
            brick3=brick[:3],
            tile=brick.partition("_")[0],
            tract=tract,
            patch=patch,
            product=self.product_names.get(product, product),
            band=self.band_names.get(band, band),
        )
        return like(self.root, path)

    def has(self, product: str) -> bool:
        """Whether there can be a file of this product: a pattern without {product} has the planes alone."""
        return not one_file(self.kind) or product in PLANES

    def bands_of(self, product: str, bands: Sequence[str]) -> tuple[str, ...]:
        """Bands that a product has files for; ("",) if one file serves all."""
        return self.mask_bands(bands) if product == "maskbits" else tuple(bands) if product in BAND_PRODUCTS else ("",)

    def mask_bands(self, bands: Sequence[str]) -> tuple[str, ...]:
        """Bands that have a mask of their own; ("",) if one mask serves all."""
        return tuple(bands) if self.masks_by_band or one_file(self.kind) else ("",)

    def folders(self, brick: str, bands: tuple[str, ...]) -> tuple[str, ...]:
        """Folders with the images of a brick: one, unless the pattern separates products or bands."""
        return tuple(dict.fromkeys(parent(self.path(brick, "image", band)) for band in bands))
