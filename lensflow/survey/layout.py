"""Where a survey keeps its files: names below any fsspec root."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lensflow.errors import SurveyError

BAND_PRODUCTS = ("image", "invvar", "psfsize", "nexp")
PRODUCTS = (*BAND_PRODUCTS, "maskbits")


@dataclass(frozen=True)
class Layout:
    """File names of a survey.

    Parameters
    ----------
    root : str
        Folder of the survey, any fsspec URL.
    kind : {"legacysurvey", "flat"}
        ``legacysurvey``: ``coadd/{brick[:3]}/{brick}/`` below root, as DR9 and DR10 have it;
        ``flat``: all files in root.
    """

    root: str
    kind: Literal["legacysurvey", "flat"] = "legacysurvey"

    def folder(self, brick: str) -> str:
        """Folder that holds the files of a brick."""
        root = self.root.rstrip("/")
        return root if self.kind == "flat" else f"{root}/coadd/{brick[:3]}/{brick}"

    def path(self, brick: str, product: str, band: str = "") -> str:
        """Path or URL of one file.

        Raises
        ------
        SurveyError
            If the product is unknown, or needs a band and has none.
        """
        if product not in PRODUCTS:
            raise SurveyError(f"no survey product {product!r}; known: {', '.join(PRODUCTS)}")
        if (product in BAND_PRODUCTS) != bool(band):
            raise SurveyError(f"{product} {'needs a band' if product in BAND_PRODUCTS else 'has no bands'}")
        suffix = f"-{band}" if band else ""
        return f"{self.folder(brick)}/legacysurvey-{brick}-{product}{suffix}.fits.fz"
