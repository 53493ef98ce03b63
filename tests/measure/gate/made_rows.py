"""Rows for the gates as the tests make them, without pairs."""

import xarray as xr

from lensflow.measure.gate.features import features_of, with_features

TWO = ("covered", "sky_sigma")


def rows_with(features, **columns):
    """Rows of these features (by source) and columns, as ``features.feature_rows`` has them."""
    dims = {name: ("sample", "band") if name in TWO else ("sample",) for name in columns}
    return with_features(xr.Dataset({name: (dims[name], v) for name, v in columns.items()}), features)


def changed(rows, source="core_raw", **features):
    """The same rows with other features of a source: stamp, ctrl, expected (None: not known)."""
    new = features_of(rows, source)._replace(**features)
    return with_features(rows.drop_vars(f"{source}.expected", errors="ignore"), {source: new})
