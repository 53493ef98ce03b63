"""Features of a stamp that a person can read, measured on its pixels alone."""

from lensflow.measure.realism.features.names import FEATURES, NAMES, Feature, Note
from lensflow.measure.realism.features.rows import Variable, cutouts_features, pairs_features
from lensflow.measure.realism.features.stamps import counts, features

__all__ = [
    "FEATURES",
    "NAMES",
    "Feature",
    "Note",
    "Variable",
    "counts",
    "cutouts_features",
    "features",
    "pairs_features",
]
