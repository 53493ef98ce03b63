from __future__ import annotations

import dataclasses
import io
import json
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lensflow.config import RunConfig
from lensflow.errors import StoreError
from lensflow.measure.gate import Verdict
from lensflow.measure.pixels import DIAGNOSTICS
from lensflow.measure.zoo import faults as zoo
from lensflow.run import make_run
from lensflow.run.completeness import completeness_step, with_options
from lensflow.run.report import report_of, report_step
from lensflow.run.zoo import zoo_key
from lensflow.show import figures_images
from lensflow.show.collect import Places, RunRecord, collect
from lensflow.show.composite import colour_note, composite, composite_bands
from lensflow.show.figures import Picture
from lensflow.show.gallery import choose_rows
from lensflow.show.page import render, write_page
from lensflow.store.results import keep_results
from lensflow.store.run_folder import RunFolder
from tests.quick import no_figures, not_drawn
from tests.reseal import rewrite
from tests.show.gates_factory import ONE_OF_EACH, fitted
from tests.small_run import SMALL, small_config

pytestmark = pytest.mark.whole

NOW = datetime(2030, 1, 2, 3, 4, tzinfo=UTC)


def finished_run(out: Path, **changes: Any) -> RunConfig:
    settings: dict[str, Any] = {
        "name": "small <run>",
        "survey": {**SMALL["survey"], "failure_budget": 0.5},
        # Two bricks of 2': a guard band would leave too few hosts for a gallery of different ones.
        "splits": {"guard_arcsec": 0},
        "injection": {"gain": "exposure", "exposure_time_s": {"g": 90, "r": 90, "z": 90}},
        "diagnostics": {"bootstrap": 60},
        "gate": {"bootstrap": 60},
    }
    config = small_config(out, **{**settings, **changes})
    make_run(config)
    return config


def places(config: RunConfig) -> Places:
    out = config.out
    return Places(
        *(f"{out}/{name}.zarr" for name in ("cutouts", "manifest", "pairs")),
        *(f"{out}/receipts/{stage}" for stage in ("cutouts", "pairs")),
        *(f"{out}/summaries/{name}.json" for name in ("diagnostics", "gates", "timings")),
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    return finished_run(tmp_path_factory.mktemp("report") / "run")


@pytest.fixture(scope="module")
def record(finished: RunConfig) -> RunRecord:
    return collect(finished, places(finished))


@pytest.fixture(scope="module")
def bare(record: RunRecord) -> RunRecord:
    """The run before it was measured: few figures, quick to write."""
    return dataclasses.replace(record, diagnostics={}, gates=(), gallery=record.gallery[:2])


@pytest.fixture(scope="module")
def html(finished: RunConfig) -> str:
    """The page that the run itself wrote."""
    return (Path(finished.out) / "report" / "index.html").read_text()


@pytest.fixture
def copied(finished: RunConfig, tmp_path: Path) -> RunConfig:
    """The finished run in a folder of its own, to take things away from."""
    shutil.copytree(finished.out, tmp_path / "run", ignore=shutil.ignore_patterns("survey"))
    return finished.model_copy(update={"out": str(tmp_path / "run")})


@pytest.fixture
def undrawn() -> Iterator[None]:
    """For tests that write a page for its words, and those of its figures."""
    with not_drawn():
        yield


@pytest.fixture
def unfigured() -> Iterator[None]:
    """For tests that write a page for its own words."""
    with no_figures():
        yield


class Page(HTMLParser):
    VOID = frozenset({"br", "meta", "img", "line", "circle", "rect"})

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.captions = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def words(text: str) -> str:
    """Text that a reader sees, without markup, on one line."""
    return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", " ", text, flags=re.DOTALL))


def test_a_run_ends_with_one_page_and_its_figures(finished: RunConfig) -> None:
    page = Path(finished.out) / "report" / "index.html"
    names = {p.stem for p in (page.parent / "figures").iterdir()}
    assert {"radial-profile", "strata", "psf-sizes", "manifest"} <= names
    assert page.stat().st_size < 2.5e6


def test_the_page_needs_nothing_from_outside(html: str) -> None:
    page = Page(html)
    assert not page.open
    assert not page.all("script") and not page.all("link")
    assert all((img["src"] or "").startswith("data:image/png;base64,") for img in page.all("img"))
    assert not re.search(r"""(?:href|src)=["']?(?:https?:)?//""", html)


def test_every_figure_has_words_for_those_who_do_not_see_it_and_every_table_a_caption(html: str) -> None:
    page = Page(html)
    assert all(len(img["alt"] or "") > 20 for img in page.all("img"))
    drawn = [a for a in page.all("svg") if a.get("class") == "drawn"]
    assert len(drawn) > 3 and all(len(a["aria-label"] or "") > 20 for a in drawn)
    assert len(page.all("table")) == len(page.all("caption")) > 8


def test_links_of_the_page_lead_somewhere(html: str) -> None:
    page = Page(html)
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {(a["href"] or "").lstrip("#") for a in page.all("a")} <= set(ids)


def test_names_are_escaped(html: str) -> None:
    assert "small &lt;run&gt;" in html and "<run>" not in html


def test_each_gate_shows_its_verdict_its_numbers_and_its_reason(record: RunRecord, html: str) -> None:
    text = words(html)
    assert [g.name for g in record.gates if g.fitted] == ["core_r", "core_all"]
    for gate in record.gates:
        assert gate.verdict.value.replace("_", " ") in text
        assert not gate.fitted or f"{gate.auc:.3f}" in text
        assert gate.recipe_hash in text
    assert "an area above the threshold is expected where the physics is correct" in text


@pytest.mark.usefixtures("undrawn")
def test_gates_without_a_fit_show_what_they_compared_in_place_of_a_curve(bare: RunRecord) -> None:
    html = render(dataclasses.replace(bare, gates=ONE_OF_EACH), NOW)
    text = words(html)
    assert not Page(html).open and " nan" not in text
    assert "1 of 4 required gates passed; failed: core_r, balance; not testable: localisation." in text
    assert "balance FAIL 0 of 2 as expected" in text and "splits PASS 1 of 1 as expected" in text
    assert "localisation NOT TESTABLE —" in text and "was not run." in text and "was not run.." not in text
    assert "balance, means: about means" in text and "balance, missing: about missing" in text
    for name, shown in (("core_r", True), ("balance", False)):
        drawn = [a.get("aria-label") or "" for a in Page(html).all("svg")]
        assert any(f"ROC curve of gate {name}" in words for words in drawn) == shown
    assert {f"gate-{g.name}" for g in ONE_OF_EACH} <= {a.get("id") for _, a in Page(html).tags}


@pytest.mark.usefixtures("unfigured")
def test_the_verdict_comes_before_all_else(bare: RunRecord, html: str) -> None:
    gates = (*ONE_OF_EACH[:1], fitted("edge_all", Verdict.PASS, 0.5), *ONE_OF_EACH[1:])
    text = words(render(dataclasses.replace(bare, gates=gates), NOW))
    places = [text.index(f" {g.name} {g.verdict.value.replace('_', ' ')}") for g in gates]
    assert sorted(places) == [places[k] for k in (0, 2, 3, 4, 1)]
    assert "edge_all PASS advisory AUC 0.500 (0.480 – 0.520), limit 0.65" in text
    assert words(html).index("required gates passed") < words(html).index("What a gate asks")


def test_counts_on_the_page_are_those_of_the_receipts(record: RunRecord, html: str) -> None:
    text, counts = words(html), record.pairs_summary["counts"]
    assert record.injections is not None and record.injections.sizes["sample"] == counts["injections"]
    assert f"injections {counts['injections']:,}" in text
    assert f"requested {record.cutouts_summary['counts']['hosts']}" in text
    assert "0 broken invariants" in text
    assert "MISSING_FILE_g" in text


@pytest.mark.usefixtures("unfigured")
def test_a_broken_invariant_is_an_alarm(bare: RunRecord) -> None:
    counts = {**bare.pairs_summary["counts"], "invariant: arc in a band without data": 2}
    broken = dataclasses.replace(bare, pairs_summary={**bare.pairs_summary, "counts": counts})
    html = render(broken, NOW)
    assert "2 broken invariants" in html and 'role="alert"' in html
    assert "arc in a band without data: 2 rows" in html


@pytest.mark.slow
def test_the_same_run_gives_the_same_page(bare: RunRecord) -> None:
    bare = dataclasses.replace(bare, rows=None)
    assert render(bare, NOW) == render(bare, NOW)


def test_the_gallery_has_a_host_without_a_band_and_says_so(record: RunRecord, html: str) -> None:
    shown = [e.absent for e in record.gallery if "g" in e.absent]
    assert shown
    assert all(f"No exposure in {', '.join(absent)}: no arc was put there." in words(html) for absent in shown)
    for e in record.gallery:
        assert e.arc.any() and not e.arc[[b in e.absent for b in record.bands]].any()


def test_gallery_rows_spread_over_theta_e_and_hosts_and_do_not_depend_on_chance(record: RunRecord) -> None:
    rows = record.rows
    assert rows is not None
    chosen = choose_rows(rows)
    assert 8 <= len(chosen) <= 10
    np.testing.assert_array_equal(chosen, choose_rows(rows))
    theta_e = rows["theta_e_arcsec"].values[chosen]
    assert (np.diff(theta_e) >= 0).all() and np.unique(theta_e).size >= 3
    assert np.unique(chosen).size == len(chosen)
    assert np.unique(rows["host_index"].values[chosen]).size >= len(chosen) - 1
    assert not rows["is_control"].values[chosen].any()


def test_the_gallery_of_controls_alone_is_empty(record: RunRecord) -> None:
    assert record.rows is not None
    assert choose_rows(record.rows.isel(sample=record.rows["is_control"].values)).size == 0


def test_rows_that_stand_out_are_shown_once_with_their_own_pixels_and_the_reason(record: RunRecord, html: str) -> None:
    assert record.rows is not None
    shown = {e.row: e for e in record.worst}
    assert len(shown) == len(record.worst) > 2 and all(e.why for e in record.worst)
    by_id = dict(zip(record.rows["row_id"].values.tolist(), record.rows["row"].values.tolist(), strict=True))
    for gate in (g for g in record.gates if g.fitted):
        first = shown[by_id[gate.worst[0]["row_id"]]]
        assert first.theta_e_arcsec == pytest.approx(gate.worst[0]["theta_e_arcsec"])
        assert any(why.startswith(f"{gate.name}:") for why in first.why)
    for e in record.worst:
        np.testing.assert_allclose(e.arc.max(axis=(1, 2)) > 0, [b not in e.absent for b in record.bands])
        assert all(why in words(html) for why in e.why)


@pytest.mark.usefixtures("undrawn")
def test_a_failing_gate_shows_the_stamps_that_drive_it_beside_their_controls(bare: RunRecord) -> None:
    one, other = bare.gallery
    telling = {"core_r": (dataclasses.replace(one, why=("scores 7.00 above its own control",)), other)}
    shown: list[Picture] = []
    html = render(dataclasses.replace(bare, gates=ONE_OF_EACH, telling=telling), NOW, shown)
    text = words(html)
    assert not Page(html).open
    assert "The 2 stamps that tell most in core_r" in text and "stamp control difference" in text
    assert one.name in text and "scores 7.00 above its own control" in text
    pictures = [p for p in shown if p.name.startswith("telling-core_r-")]
    assert [p.name[-7:] for p in pictures] == [f"{e.row:07d}" for e in telling["core_r"]]
    assert all(p.alt.startswith("Stamp, control and their difference of ") for p in pictures)
    # Of a stamp that is its control nothing is left in the third panel.
    same = dataclasses.replace(one, stamp=one.ctrl)
    drawn = np.asarray(Image.open(io.BytesIO(figures_images.difference("x", same, bare.bands, 0.262).png)))[..., :3]
    side = drawn.shape[0]
    assert np.array_equal(drawn[: side // 2, :side], drawn[: side // 2, side + 6 : 2 * side + 6])
    assert np.ptp(drawn[:, -side:].reshape(-1, 3), axis=0).max() == 0


@pytest.mark.usefixtures("undrawn")
@pytest.mark.slow
def test_a_matrix_of_known_faults_is_shown_if_this_code_made_it(copied: RunConfig, bare: RunRecord) -> None:
    assert "not measured; run lensflow zoo" in words(render(bare, NOW))
    counts = [[0] * len(DIAGNOSTICS), *([int(d in f.caught_by) for d in DIAGNOSTICS] for f in zoo.FAULTS)]
    keep_results(RunFolder.of(copied).zoo, zoo_key(), zoo.matrix(counts).to_dict())
    html = Path(report_step(copied)).read_text()
    assert "known faults is noticed by every" in words(html) and "lensflow zoo" not in words(html)
    assert any("Matrix of known faults" in (a.get("aria-label") or "") for a in Page(html).all("svg"))
    at = dataclasses.replace(places(copied), zoo=RunFolder.of(copied).zoo)
    assert collect(copied, at, {"zoo": "of other code"}).zoo is None


@pytest.mark.usefixtures("unfigured")
def test_a_run_without_diagnostics_and_gates_still_has_a_report_that_says_so(copied: RunConfig) -> None:
    for name in ("diagnostics", "gates", "timings"):
        (Path(copied.out) / "summaries" / f"{name}.json").unlink()
    text = words(Path(report_step(copied)).read_text())
    assert "There is no verdict." in text
    assert "No diagnostics yet" in text and "No gates yet" in text
    assert "PSF sizes" in text and "What was drawn" in text


@pytest.mark.usefixtures("unfigured")
def test_results_of_other_pixels_are_left_out_and_named(copied: RunConfig) -> None:
    for name in ("diagnostics", "gates"):
        rewrite(Path(copied.out) / "summaries" / f"{name}.json", key="of another run")
    page = Path(report_step(copied))
    text = words(page.read_text())
    assert page == Path(copied.out) / "report" / "index.html"
    assert "There is no verdict." in text and "No diagnostics yet" not in text
    for name in ("diagnostics", "gates"):
        assert f"The stored {name} belong to other pixels or settings" in text


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_run_that_stopped_while_injecting_reports_its_finished_rows(copied: RunConfig) -> None:
    done = sorted((Path(copied.out) / "receipts" / "pairs").glob("region-*"))
    done[0].unlink()
    record = collect(copied, places(copied))
    assert record.rows is not None and record.rows["row"].values.min() == 32
    assert all(e.row >= 32 for e in record.gallery)
    assert "32 of" in words(Path(report_step(copied)).read_text())


@pytest.mark.usefixtures("unfigured")
@pytest.mark.parametrize("gone", [("pairs",), ("pairs", "manifest")])
def test_a_run_that_has_only_begun_has_a_report(copied: RunConfig, gone: tuple[str, ...]) -> None:
    for name in gone:
        shutil.rmtree(Path(copied.out) / f"{name}.zarr")
    shutil.rmtree(Path(copied.out) / "summaries")
    text = words(Path(report_step(copied)).read_text())
    assert ("nothing has been planned" if "manifest" in gone else "nothing has been injected") in text
    assert "No row with an arc is finished yet." in text


def test_without_cutouts_there_is_nothing_to_report(tmp_path: Path, finished: RunConfig) -> None:
    with pytest.raises(StoreError, match="no such store"):
        report_step(finished.model_copy(update={"out": str(tmp_path / "none")}))


@pytest.mark.slow
def test_a_run_of_one_band_has_a_report(tmp_path: Path) -> None:
    survey = {"n_bricks": 1, "brick_size_pix": 400, "hosts_per_brick": 8, "bricks_without_g": 0}
    config = finished_run(tmp_path / "run", bands=("z",), survey={"synthetic": survey, "failure_budget": 0.5})
    text = words((Path(config.out) / "report" / "index.html").read_text())
    assert "z in grey" in text and "source z" in text


@pytest.mark.usefixtures("undrawn")
@pytest.mark.slow
def test_figures_lie_beside_a_page_at_any_place(bare: RunRecord, tmp_path: Path) -> None:
    page = write_page(bare, f"file://{tmp_path}/elsewhere", NOW)
    assert page.endswith("elsewhere/index.html")
    figures = list((tmp_path / "elsewhere" / "figures").glob("*.png"))
    assert figures and all(p.read_bytes().startswith(b"\x89PNG") for p in figures)


@pytest.mark.parametrize(
    ("bands", "colours"),
    [
        (("r",), ("r",)),
        (("z", "g"), ("g", "z")),
        (("r", "g", "z"), ("g", "r", "z")),
        (("g", "r", "i", "z"), ("g", "r", "z")),
        (("u", "g", "r", "i", "z"), ("u", "r", "z")),
        (("J", "H"), ("J", "H")),
    ],
)
def test_composites_run_from_blue_to_red(bands: tuple[str, ...], colours: tuple[str, ...]) -> None:
    assert composite_bands(bands) == colours


def test_two_bands_make_a_composite_and_one_is_grey() -> None:
    image = np.zeros((3, 8, 8), dtype=np.float32)
    image[2, 4, 4] = 0.1
    two = composite(image, ("g", "r", "z"), ("g",))[4, 4].astype(int)
    one = composite(image, ("g", "r", "z"), ("g", "r"))[4, 4]
    assert two[0] > two[1] > two[2]
    assert one.min() == one.max() > 0
    assert colour_note(("g", "r", "z"), ("g",)) == "z red, mean green, r blue"


def test_a_bright_pixel_of_the_reddest_band_is_red_and_stays_in_its_place() -> None:
    image = np.zeros((3, 8, 8), dtype=np.float32)
    image[2, 1, 5] = 0.1
    rgb = composite(image, ("g", "r", "z"), ())
    y, x = 1, 5
    assert rgb.shape == (8, 8, 3)
    assert rgb[y, x, 0] == rgb[..., 0].max() > rgb[y, x, 2]


def brightness(images: np.ndarray) -> np.ndarray:
    """A scorer."""
    return images.mean(axis=(1, 2, 3))


@pytest.mark.slow
def test_the_page_shows_stored_completeness_and_leaves_out_that_of_other_pixels(copied, unfigured):
    scorer = f"{__name__}:brightness"
    report_of(copied)
    found = completeness_step(with_options(copied, fpr=0.5), scorer)
    with pytest.raises(StoreError, match="the report is older"):
        report_of(copied)
    text = Path(report_step(copied)).read_text()
    report_of(copied)
    assert 'id="completeness-1"' in text and f"<b>Completeness of {scorer} (--fpr 0.5), split val</b>" in text
    assert "for injections drawn from" in text
    for name in ("funnel", "curves-0", "plane-0", "strata-0", "roc"):
        assert (Path(copied.out) / "report" / "figures" / f"completeness-1-{name}.svg").exists()
    results = json.loads(Path(found.path).read_text())["results"]
    rewrite(found.path, key="of other pixels")
    text = Path(report_step(copied)).read_text()
    assert "completeness-1" not in text
    assert f"<code>lensflow completeness {copied.out} {scorer} --fpr 0.5</code> renews it" in text
    rewrite(found.path, results={**results, "settings": {"fpr": 1}})
    with pytest.raises(StoreError, match=r"cannot be read.*run `lensflow completeness` again"):
        report_step(copied)
