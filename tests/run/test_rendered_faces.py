"""A sweep, a comparison with real lenses and a report of a run without stored pixels: the numbers of the full run."""

import re
import shutil
from pathlib import Path

import pytest

import lensflow as lf
from lensflow import run as steps
from lensflow.run.report import report_step
from lensflow.store import objects
from lensflow.store.run_folder import RunFolder
from tests.run.realism.sky import injected_run
from tests.run.sweep.small_sweep import swept_run

pytestmark = pytest.mark.whole

SCORER = "lensflow.measure.scorer.scorer:blue_ring"


def without_pixels(config):
    """Make the pairs of a run again, without stored pixels."""
    folder = RunFolder.of(config)
    shutil.rmtree(folder.pairs)
    shutil.rmtree(folder.receipts("pairs"))
    virtual = config.model_copy(update={"store": config.store.model_copy(update={"pixels": "virtual"})})
    steps.inject_step(virtual)
    assert objects.read_created(folder.pairs).rendered == ["arc", "stamp"]
    return virtual


def two(make, place):
    return make(place / "full"), without_pixels(make(place / "virtual"))


def same(one, other):
    """Datasets, but for where the runs are."""
    assert {*one.variables} == {*other.variables}
    for name in one.variables:
        assert one[name].identical(other[name]), name


def test_a_sweep(tmp_path):
    factors = {"injection.noise": ["true", "false"]}
    full, virtual = (lf.sweep(config, factors, SCORER, gates=False) for config in two(swept_run, tmp_path))
    assert len(full.arms) == len(virtual.arms) == 1
    for one, other in zip(full.arms, virtual.arms, strict=True):
        same(one.numbers, other.numbers)
        same(one.proof, other.proof)
        assert (one.n_rows, one.differs) == (other.n_rows, other.differs)
        # What the arm was made of: stored arcs, or arcs that were rendered to be read.
        assert RunFolder(other.folder).root.startswith(str(tmp_path / "virtual"))


@pytest.mark.slow
def test_a_comparison_with_real_lenses_and_the_report(tmp_path):
    configs = two(injected_run, tmp_path)
    full, virtual = (lf.compare_real(config, scorer=SCORER) for config in configs)
    assert {*full} == {*virtual} and len({*full}) > 3
    for name in full:
        same(full[name], virtual[name])
    assert (full.sentence, full.counts) == (virtual.sentence, virtual.counts)
    pictures, cells = [], []
    for config in configs:
        steps.measure_step(config)
        report_step(config)
        page = (Path(config.out) / "report" / "index.html").read_text()
        pictures.append(re.findall(r"data:image/png;base64,[A-Za-z0-9+/=]+", page))
        cells.append([c for c in re.findall(r"<td[^>]*>([^<]*[0-9][^<]*)</td>", page) if "." in c])
    assert len(pictures[0]) > 3 and pictures[0] == pictures[1]
    assert len(cells[0]) > 20
    assert len({*cells[0]} ^ {*cells[1]}) < 0.1 * len({*cells[0]}), {*cells[0]} ^ {*cells[1]}  # seconds, bytes
