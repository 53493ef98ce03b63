"""What a scorer is given beside the images: numbers of the host, the same for a stamp and its control."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.config.training import FEATURES
from lensflow.errors import GateError, did_you_mean

# Of a scorer: names of FEATURES that it takes as a second argument.
ATTRIBUTE = "needs_features"


def needs_features(scorer: Any, name: str = "scorer") -> tuple[str, ...]:
    """Features that a scorer takes beside the images, as its ``needs_features`` says; none without.

    Parameters
    ----------
    scorer : object
    name : str
        For messages.

    Returns
    -------
    tuple of str

    Raises
    ------
    GateError
        If it names something that is not the host's own.
    """
    wanted = getattr(scorer, ATTRIBUTE, ())
    if not isinstance(wanted, tuple | list) or not all(isinstance(n, str) for n in wanted):
        raise GateError(f"{name}: {ATTRIBUTE} must be a tuple of names, such as ('psf_fwhm',), not {wanted!r}")
    for n in wanted:
        if n not in FEATURES:
            raise GateError(
                f"{name}: {ATTRIBUTE} names {n!r}, and scorers get only {', '.join(FEATURES)} beside the images: what "
                f"a stamp and its control share.{did_you_mean(n, FEATURES)}"
            )
    return tuple(wanted)


def features_of(scorer: Any, hosts: xr.Dataset, name: str = "scorer") -> NDArray[np.float64] | None:
    """Features of images by their hosts, as a scorer wants them; None for one that wants none.

    Parameters
    ----------
    scorer : object
    hosts : Dataset
        One row for each image, with the variables of the cutouts (``psfsize_arcsec``).
    name : str
        Of the scorer, for messages.

    Returns
    -------
    ndarray of float64, shape (n, feature * band), or None
        Feature by feature, each in the order of the bands; arcsec. NaN where a band is absent.

    Raises
    ------
    GateError
        If the rows do not have them; both are named.
    """
    wanted = needs_features(scorer, name)
    if not wanted:
        return None
    missing = [FEATURES[n] for n in wanted if FEATURES[n] not in hosts]
    if missing:
        raise GateError(
            f"{name}: was made for images with {', '.join(wanted)} beside them, and these rows have no "
            f"{', '.join(missing)} of their hosts. Assign it, shape (row, band): pairs.assign(psfsize_arcsec=...)"
        )
    return np.concatenate([np.asarray(hosts[FEATURES[n]].values, np.float64) for n in wanted], axis=1)


def some(features: NDArray[np.float64] | None, rows: Any) -> NDArray[np.float64] | None:
    """Features of some images; None where there are none."""
    return None if features is None else features[rows]


def arguments(features: NDArray[np.float64] | None) -> tuple[NDArray[np.float64], ...]:
    """Arguments of a scorer that follow the images."""
    return () if features is None else (features,)
