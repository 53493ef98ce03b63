"""Survey files that are cut short on their way."""

from pathlib import Path

import numpy as np
import pytest

from lensflow import schema
from lensflow.config import load_config
from lensflow.store import receipts
from lensflow.store.open import open_all_pairs, open_cutouts
from lensflow.store.run_folder import RunFolder
from tests.faults.conftest import make_pairs
from tests.small_survey import small_survey
from tests.survey.brick_factory import file_of

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("kept_share", [0.0, 0.3, 0.97])
def test_a_truncated_image_loses_its_band_and_no_row(whole, tmp_path, kept_share):
    settings = small_survey(tmp_path)
    path = file_of(Path(settings["survey"]["root"]), "image", "z")
    path.write_bytes(path.read_bytes()[: int(kept_share * path.stat().st_size)])
    config = load_config({**settings, "plan": {**settings["plan"], "include_partial": True}})
    make_pairs(config)
    counts = receipts.total_counts(receipts.read_receipts(RunFolder.of(config).receipts("cutouts")).values())
    lost = counts["reason: CORRUPT_FILE_z"]
    assert (
        counts["hosts"] == 6 == counts["status: OK"] + counts["status: PARTIAL"] and lost == counts["status: PARTIAL"]
    )
    assert lost > 0
    got, sound = (
        open_cutouts(f"{config.out}/cutouts.zarr").load(),
        open_cutouts(f"{whole.settings['out']}/cutouts.zarr"),
    )
    assert np.array_equal(got["host_id"], sound["host_id"])
    others = {"band": ["g", "r"]}
    assert np.array_equal(got["image"].sel(others), sound["image"].sel(others))
    struck = (got["band_reasons"].values & int(schema.Reason.CORRUPT_FILE)) > 0
    assert (got["image"].values[struck] == 0).all() and not got["covered"].values[struck].any()
    pairs, sound = (open_all_pairs(f"{out}/pairs.zarr").load() for out in (config.out, whole.settings["out"]))
    assert pairs.sizes["sample"] == sound.sizes["sample"] == 18
    assert (pairs["arc"].sel(band="z").values[np.isin(pairs["host_index"], np.flatnonzero(struck[:, 2]))] == 0).all()
