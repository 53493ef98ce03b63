"""The example and the snippet of docs/sweep.md run as they stand there, on fewer hosts."""

import re
from pathlib import Path

import pytest
import yaml

from lensflow.measure.realism.sweep.factors import FACTORS

pytestmark = pytest.mark.whole
PAGE = (Path(__file__).parents[3] / "docs/sweep.md").read_text()
CONFIG = yaml.safe_load(re.search(r"```yaml\n(.*?)```", PAGE, re.S)[1])
COMMANDS = re.search(r"```sh\n(.*?)```", PAGE, re.S)[1].splitlines()
# Hosts and bricks of the page take minutes; val has to have ten hosts for its false-positive rate.
FEWER = {
    "survey": {"synthetic": {"n_bricks": 2, "brick_size_pix": 500, "hosts_per_brick": 12}},
    "splits": {"fractions": [0.2, 0.6, 0.2], "guard_arcsec": None},
    "plan": {"injections_per_host": 2},
    # One feature in the place of a hundred.
    "gate": {**CONFIG["gate"], "recipes": ["brightness_all"], "bootstrap": 50},
    "diagnostics": {"bootstrap": 50},
}


def test_the_example_of_the_page_runs_from_pixels_to_the_table(command, tmp_path, monkeypatch):
    import lensflow as lf

    monkeypatch.chdir(tmp_path)
    Path("sweep.yaml").write_text(yaml.safe_dump({**CONFIG, **FEWER}))
    said = ""
    for line in COMMANDS:
        code, said = command(*line.split()[1:])
        assert code == 0, said
    rows = re.findall(r"^\| ([a-zA-Z ]+) \|", PAGE[PAGE.index("| factor | from |") :], re.M)
    assert {"brightness", "shot noise", "PSF width", "rounding", "source offset"} <= {r.strip() for r in rows}
    assert all(name in said for name in ("brightness", "shot noise", "PSF width", "rounding", "source offset"))
    snippet = re.search(r"```python numbers\n(.*?)```", PAGE, re.S)[1]
    scope = {"lf": lf}
    exec(snippet.replace("runs/dr9", "runs/sweep").replace("fpr=0.1", "fpr=0.2"), scope)
    assert scope["arm"].differs == ("injection.noise",)
    assert set(scope["changed"]["array"].values) == {"stamp", "snr_peak_total", "snr_matched_total", "snr_stamp_total"}
    assert set(scope["brighter"]) == {"difference", "difference_low", "difference_high", "p_holm"}


def test_every_factor_is_on_the_page():
    table = PAGE[PAGE.index("| factor | setting |") : PAGE.index("## The proof")]
    for name in FACTORS:
        short = name.rpartition(".")[2]
        listed = name.startswith(("injection.core_mask_", "export.normalisation."))
        assert f"`{name}`" in table or f"`{short}`" in table or listed, name
