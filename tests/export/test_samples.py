"""Which rows become samples of which class, on a table alone."""

import numpy as np
import pytest
import xarray as xr

from lensflow.config.export import ExportConfig, SharesConfig
from lensflow.errors import ExportError
from lensflow.export.samples import choose


def test_a_kind_that_the_config_asks_for_must_be_there():
    every = ExportConfig(negatives=SharesConfig(control=0.5, counterfactual=0, host_other=0.5))
    assert every.negatives.is_given and not ExportConfig().negatives.is_given
    rows = xr.Dataset(
        {
            "row_id": ("sample", np.arange(6, dtype=np.uint64)), "host_index": ("sample", np.arange(6) // 2),
            "host_id": ("sample", np.array(list("aabbcc"))), "is_control": ("sample", np.zeros(6, bool)),
            "lens_model": ("sample", np.full(6, "SIE")), "split": ("sample", np.zeros(6, np.uint8)),
            "is_clean": ("sample", np.ones(6, bool)), "snr_matched": (("sample", "band"), np.full((6, 1), 9.0)),
            "theta_e_arcsec": ("sample", np.ones(6)), "x_center": ("sample", np.ones(6)),
            "y_center": ("sample", np.ones(6)), "ra_deg": ("sample", np.ones(6)), "dec_deg": ("sample", np.ones(6)),
            "psfsize_arcsec": (("sample", "band"), np.ones((6, 1))), "bad_pixel_frac": ("sample", np.zeros(6)),
            "aperture_flux_nmgy": (("sample", "band"), np.ones((6, 1))),
        },
        coords={"sample": np.arange(6)},
    )  # fmt: skip
    none = rows.isel(sample=slice(0))
    with pytest.raises(ExportError, match="every usable host of the train split"):
        choose(rows, none, every, "train", 1, 0, (0.0, 2.0))
    # By default controls take the share that other hosts cannot carry, and the counts say so.
    counts = choose(rows, none, ExportConfig(), "train", 1, 0, (0.0, 2.0)).counts
    assert (
        counts.weights == pytest.approx({"control": 0.9, "counterfactual": 0.1}) and counts.asked["host_other"] == 0.2
    )
    rows["snr_matched"][3] = np.nan
    with pytest.raises(ExportError, match="row 3 is clean and has no snr_matched"):
        choose(rows, none, ExportConfig(), "train", 1, 0, (0.0, 2.0))
