"""What a run gives to a training: classes, weights, pixels, refusals."""

import json
from dataclasses import replace

import numpy as np
import pytest
import zarr

import lensflow as lf
from lensflow.config import RunConfig
from lensflow.config.export import NEGATIVE_KINDS
from lensflow.errors import ConfigError, ExportError, SplitError, StaleStoreError, StoreError
from lensflow.measure.lens_light import without_light
from lensflow.run.export import open_view as open_view_module
from lensflow.run.export.open_view import open_view
from lensflow.store import paths, sealing
from lensflow.store.open import open_all_pairs
from lensflow.store.run_folder import RunFolder
from lensflow.training.views import Views
from tests.export_run import HOLE, certify_as, export_copy, export_run

pytestmark = pytest.mark.train
CONTROL, COUNTERFACTUAL, HOST_OTHER = range(3)


@pytest.fixture(scope="module")
def run() -> RunConfig:
    return export_run()


@pytest.fixture(scope="module")
def train(run):
    return open_view(run)


@pytest.fixture(scope="module")
def stored(run):
    """All rows as lensflow serves them: the judge of every pixel."""
    folder = RunFolder.of(run)
    return open_all_pairs(folder.pairs).load()


def of_kind(view, kind):
    s = view.samples
    return s.isel(sample=np.flatnonzero(s["negative_kind"].values == kind))


def pixels(view):
    """Raw pixels of every sample by id."""
    parts = [view.raw(u) for u in range(view.n_units)]
    x, valid = (np.concatenate([p[k] for p in parts]) for k in ("x", "valid"))
    assert np.array_equal(valid, np.isfinite(x))
    return dict(zip(view.samples["sample_id"].values.tolist(), x, strict=True))


def test_positives_are_stamps_and_controls_their_hosts_to_the_bit(train, stored):
    got = pixels(train)
    has, stamp, ctrl = (stored[n].values for n in ("has_data", "stamp", "ctrl"))
    s = train.samples
    for i, pair, kind in zip(
        s["sample_id"].values.tolist(), s["pair_id"].values, s["negative_kind"].values, strict=True
    ):
        if kind in (-1, CONTROL):
            assert stored["row_id"].values[pair] == s["row_id"].values[s["sample_id"].values == i][0]
            expected = np.where(has[pair], stamp[pair] if kind == -1 else ctrl[pair], np.float32(np.nan))
            assert np.array_equal(got[i], expected, equal_nan=True)


def test_each_control_is_there_once_and_weighs_what_it_stands_for(train):
    positives, controls = of_kind(train, -1), of_kind(train, CONTROL)
    hosts = controls["host_index"].values
    assert len(np.unique(hosts)) == len(hosts)
    n = {h: int((positives["host_index"].values == h).sum()) for h in hosts}
    assert controls["weight"].values == pytest.approx([0.7 * n[h] for h in hosts], rel=1e-6)
    total = {k: float(of_kind(train, k)["weight"].sum()) for k in (-1, CONTROL, COUNTERFACTUAL, HOST_OTHER)}
    assert [total[k] / total[-1] for k in (0, 1, 2)] == pytest.approx([0.7, 0.1, 0.2], rel=1e-5)
    c = train.counts
    assert (c.positives, c.hosts) == (positives.sizes["sample"], len(hosts))
    assert c.different_negatives == sum(c.negatives.values())
    assert train.counts.text().endswith("different negatives")


def test_ratio_of_controls_changes_weights_alone(run, train):
    twice = open_view(run, controls_per_positive=2.0, negatives={"control": 1, "counterfactual": 0, "host_other": 0})
    w = twice.samples["weight"].values
    assert w[twice.samples["y"].values == 0].sum() == pytest.approx(2 * w[twice.samples["y"].values == 1].sum())
    assert twice.samples.sizes["sample"] == 96


def test_hosts_without_injection_are_their_cutouts_and_as_clean_as_the_others(run, train):
    others, got = of_kind(train, HOST_OTHER), pixels(train)
    cutouts = lf.open_cutouts(RunFolder.of(run).cutouts)
    with_rows = set(lf.open_manifest(RunFolder.of(run).manifest)["host_index"].values.tolist())
    assert others.sizes["sample"] and not with_rows & set(others["host_index"].values.tolist())
    assert (cutouts["split"].values[others["host_index"].values] == 0).all()
    for i, h in zip(others["sample_id"].values.tolist(), others["host_index"].values, strict=True):
        assert np.array_equal(got[i], cutouts["image"].values[h])


def test_counterfactuals_hold_the_arcs_light_where_no_lens_puts_it(run, train, stored):
    some, got = of_kind(train, COUNTERFACTUAL), pixels(train)
    for i, pair in zip(some["sample_id"].values.tolist(), some["pair_id"].values, strict=True):
        added = stored["stamp"].values[pair].astype(np.float64) - stored["ctrl"].values[pair]
        now = got[i].astype(np.float64) - stored["ctrl"].values[pair]
        assert not np.allclose(added, now, atol=1e-4)
        # Moved as it is: some shift by about 16 pixels takes one to the other.
        shifts = [(y, x) for y in range(-17, 18) for x in range(-17, 18) if 14 <= np.hypot(y, x) <= 18]
        inner = slice(20, 44)
        assert min(
            np.abs(np.roll(added, s, axis=(1, 2))[:, inner, inner] - now[:, inner, inner]).max() for s in shifts
        ) < 1e-5  # fmt: skip


def test_faint_rows_are_left_out_weighted_or_kept_and_never_negatives(run):
    cut = 600.0
    drop, weigh, keep = (open_view(run, min_snr=cut, faint=f) for f in ("drop", "weight", "keep"))
    snr = keep.samples["snr"].values[keep.samples["y"].values == 1]
    assert (snr < cut).any() and (snr >= cut).any(), "this test sees both"
    assert (drop.samples["snr"].values[drop.samples["y"].values == 1] >= cut).all()
    assert drop.counts.left_out == {"below snr 600": int((snr < cut).sum())}
    assert drop.samples.sizes["sample"] < keep.samples.sizes["sample"] == weigh.samples.sizes["sample"]
    s = weigh.samples.isel(sample=np.flatnonzero(weigh.samples["y"].values == 1))
    expected = np.where(s["snr"] >= cut, 1, np.clip((s["snr"].values - 1) / 4, 0.05, 1))
    assert s["weight"].values == pytest.approx(expected, rel=1e-5)
    rows = {k: set(v.samples["row_id"].values[v.samples["y"].values == 0].tolist()) for k, v in
            (("drop", drop), ("keep", keep))}  # fmt: skip
    dropped = set(keep.samples["row_id"].values.tolist()) - set(drop.samples["row_id"].values.tolist())
    assert not dropped & rows["drop"]
    val = open_view(run, split="val", min_snr=cut)
    assert (val.samples["snr"].values[val.samples["y"].values == 1] < cut).any(), "completeness needs the faint end"


def test_ids_are_unique_and_neither_they_nor_the_order_tell_the_class(train):
    s = train.samples
    ids, y = s["sample_id"].values, s["y"].values
    assert len(np.unique(ids)) == len(ids)
    assert all((np.diff(ids[s["unit"].values == u].astype(np.float64)) > 0).all() for u in range(train.n_units))
    for bit in range(64):
        share = [((ids[y == k] >> np.uint64(bit)) & np.uint64(1)).mean() for k in (0, 1)]
        assert abs(share[0] - share[1]) < 5 * np.sqrt(0.25 / (y == 0).sum() + 0.25 / (y == 1).sum())


def test_views_of_one_run_share_what_is_read_of_it_and_are_those_that_are_opened_alone(run, monkeypatch):
    read = []
    for name in ("certified", "rows_of_all", "fitted"):
        function = getattr(open_view_module, name)
        monkeypatch.setattr(open_view_module, name, lambda *a, f=function, n=name: read.append(n) or f(*a))
    views = open_view_module.RunViews(run)
    opened = [views.open(), views.open("val", "pairs")]
    assert sorted(read) == ["certified", "fitted", "rows_of_all"]
    monkeypatch.undo()
    for one, alone in zip(opened, (open_view(run), open_view(run, split="val", view="pairs")), strict=True):
        assert one.samples.identical(alone.samples) and one.view == alone.view
        assert one.normalisation == alone.normalisation and one.certified == alone.certified


def test_constants_are_those_of_train_controls_whichever_split_is_opened(run, train, stored):
    val = open_view(run, split="val")
    assert val.normalisation == train.normalisation
    used = np.unique(stored["host_index"].values[(stored["split"].values == 0) & stored["is_clean"].values])
    cutouts = lf.open_cutouts(RunFolder.of(run).cutouts)
    invvar = cutouts["invvar"].values[used]
    sigma = [[1 / np.sqrt(np.median(h[b][h[b] > 0])) for b in range(3)] for h in invvar]
    assert train.normalisation.s == pytest.approx(np.median(sigma, axis=0), rel=1e-6)
    assert train.normalisation.n_pixels == tuple((invvar[:, b] > 0).sum() for b in range(3))
    assert train.normalisation.n_hosts == len(used)


def test_read_is_finite_and_the_lazy_dataset_is_the_same(run, train):
    lazy = lf.training_view(run)
    assert lazy["x"].chunks[0] == tuple(np.diff(train.starts))
    x = lazy["x"].values
    assert (
        np.array_equal(x, np.concatenate([train.read(u)["x"] for u in range(train.n_units)])) and np.isfinite(x).all()
    )
    assert lazy.attrs["verdict"] == "PASS" and lazy.sizes["sample"] == train.samples.sizes["sample"]


def test_valid_is_a_channel_and_missing_pixels_are_0_in_both_classes(run):
    view = open_view(run, valid_channel=True, view="pairs")
    assert view.channels[-1] == "valid" and view.shape[0] == 4
    hole = np.flatnonzero(view.samples["host_id"].values == f"host-{HOLE:03d}")
    assert hole.size, "the host without data is in train"
    x = np.concatenate([view.read(u)["x"] for u in range(view.n_units)])[hole]
    assert (x[:, :, :4, :9] == 0).all() and (x[:, 3, 5:] == 1).all()
    assert set(view.samples["y"].values[hole].tolist()) == {0, 1}


def test_pairs_have_a_control_each_and_the_other_views_their_members(run, stored):
    pairs = open_view(run, view="pairs")
    _, n = np.unique(pairs.samples["pair_id"].values, return_counts=True)
    assert (n == 2).all() and pairs.counts.different_negatives == pairs.counts.hosts
    study = {"purpose": "study"}
    concat = open_view(run, view="concat", **study)
    assert concat.shape[0] == 6 and concat.channels[0] == "stamp_g"
    got, own = concat.read(0), stored["ctrl"].values
    raw = concat.raw(0)["x"]
    for x, y, pair in zip(raw, got["y"], got["pair_id"], strict=True):
        assert np.array_equal(x[3:], own[pair]), "the control is the second image of both classes"
        if y:
            assert np.array_equal(x[:3], stored["stamp"].values[pair])
        else:
            h = stored["host_index"].values
            assert not np.array_equal(x[:3], own[pair])
            assert any(np.array_equal(x[:3], own[k]) for k in np.unique(h, return_index=True)[1])
    residual = open_view(run, view="residual", residual_negatives="matched", **study)
    raw = residual.raw(0)["x"]
    assert residual.shape[0] == 3 and (np.abs(raw).max(axis=(1, 2, 3)) > 0).all(), "no negative is 0 exactly"
    triplet = open_view(run, view="triplet")
    raw, s = triplet.raw(0)["x"], triplet.samples.isel(sample=triplet.samples["unit"].values == 0)
    for x, pair, host in zip(raw, s["pair_id"].values, s["host_index"].values, strict=True):
        assert np.array_equal(x[:3], stored["stamp"].values[pair]) and np.array_equal(x[3:6], own[pair])
        other = [k for k in range(len(own)) if np.array_equal(x[6:], stored["stamp"].values[k])]
        assert len(other) == 1 and stored["host_index"].values[other[0]] != host


def test_quantize_puts_both_classes_on_one_lattice(run):
    view = open_view(run, view="pairs", quantize="sky/8")
    s, x = view.samples, pixels(view)
    cutouts = lf.open_cutouts(RunFolder.of(run).cutouts)
    for i, h in list(zip(s["sample_id"].values.tolist(), s["host_index"].values, strict=True))[:12]:
        invvar = cutouts["invvar"].values[h]
        for b in range(3):
            step = 2.0 ** np.floor(np.log2(1 / np.sqrt(np.median(invvar[b][invvar[b] > 0])) / 8))
            known = x[i][b][np.isfinite(x[i][b])] / step
            assert np.abs(known - np.round(known)).max() < 1e-3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"view": "concat"}, r"concat needs a control at inference and a search has none; set export\.purpose: study"),
        ({"view": "residual"}, r"view residual needs a control at inference"),
        ({"view": "residual", "purpose": "study"}, r"0 exactly.*residual_negatives: matched"),
        ({"view": "residual", "purpose": "study", "residual_negatives": "two_epochs"}, r"the store has none"),
        ({"negatives": {"control": 0.5, "counterfactual": 0, "host_other": 0, "table": 0.5}}, r"stamps of real lenses"),
        ({"min_snr": 1e9}, r"train split has no positive: of 72 injections, .*below snr"),
        ({"split": "nowhere"}, r"'nowhere' is not a split"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_on_is_refused(run, settings, said):
    with pytest.raises(ExportError, match=said):
        open_view(run, **settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"counterfactuals": ["shuffled"]}, "lose the PSF's correlation"),
        ({"counterfactuals": ["moovd"]}, "Did you mean 'moved'"),
        ({"quantize": "sky/2"}, "coarser than sky/4"),
        ({"negatives": {"control": 0.5}}, "sum to 0.8"),
        ({"view": "tripple"}, "triplet"),
        ({"allow_verdicts": ["PERHAPS"]}, "no verdict"),
        ({"normalisation": {"kind": "annulus", "r_in_pix": 9, "r_out_pix": 8}}, "below r_out_pix"),
        ({"no_such": 1}, "no_such"),
    ],
)
def test_wrong_settings_are_named(run, settings, said):
    with pytest.raises(ConfigError, match=said):
        open_view(run, **settings)


@pytest.fixture(scope="module")
def a_copy(tmp_path_factory):
    return export_copy(tmp_path_factory.mktemp("spoilt") / "run")


@pytest.fixture
def spoilt(a_copy):
    """A copy that a test may change, if it leaves the stores; certified again for each."""
    certify_as(a_copy, "PASS")
    return a_copy


def test_the_certificates_verdict_must_be_allowed(spoilt):
    certify_as(spoilt, "FAIL")
    with pytest.raises(ExportError, match=r"the certificate says FAIL .*allow_verdicts: \[FAIL\]"):
        open_view(spoilt)
    with pytest.raises(ExportError, match="says FAIL"):
        open_view(spoilt, allow_verdicts=["INCONCLUSIVE"])
    assert open_view(spoilt, allow_verdicts=["FAIL"]).certified.verdict == "FAIL"


def test_the_test_split_is_sealed_and_its_opening_is_logged(spoilt):
    with pytest.raises(ExportError, match="the test split is sealed"):
        open_view(spoilt, split="test")
    folder = RunFolder.of(spoilt)
    assert not sealing.read_test_accesses(folder.pairs)
    view = open_view(spoilt, split="test", unseal_test="this test")
    assert [e["why"] for e in sealing.read_test_accesses(folder.pairs)] == ["this test"]
    assert (view.samples["split"].values == 2).all()
    paths.remove_folder(folder.path(sealing.FOLDER))


def test_a_run_without_certificate_or_with_another_ones_is_refused(spoilt):
    folder = RunFolder.of(spoilt)
    content = paths.read_json(folder.certificate)
    paths.remove(folder.certificate)
    with pytest.raises(ExportError, match=r"no certificate.*lensflow certify"):
        open_view(spoilt)
    name = next(iter(content["data"]["pairs"]["parts"]))
    forged = json.loads(json.dumps(content))
    forged["data"]["pairs"]["parts"][name] = "0" * 64
    paths.write_json(folder.certificate, forged)
    with pytest.raises(StaleStoreError, match="of another content"):
        open_view(spoilt)
    paths.write_json(folder.certificate, content)
    assert open_view(spoilt).certified.verdict == "PASS"


def test_a_stamp_that_lacks_pixels_of_its_control_is_refused_by_row(spoilt, monkeypatch):
    from lensflow.export import run_pixels

    view, read = open_view(spoilt), run_pixels.pixel_blocks
    victim = of_kind(view, -1).isel(sample=4)
    row, region = int(victim["pair_id"]), view.pixels.regions

    def with_nan(*asked):
        for numbers, block in read(*asked):
            block[numbers == row, 1, 30, 31] = np.nan
            yield numbers, block

    monkeypatch.setattr(run_pixels, "pixel_blocks", with_nan)
    assert region.rows > 1
    with pytest.raises(
        ExportError, match=rf"row {int(victim['row_id'])} \(number {row}\): its stamp has no value in 1 pixel"
    ):
        for u in range(view.n_units):
            view.read(u)


def test_a_cell_in_two_splits_is_refused(spoilt):
    group = zarr.open_group(RunFolder.of(spoilt).cutouts, mode="r")
    assert "cell" in group
    from lensflow.run.export import hosts as module

    read = module.read_head

    def crossed(url, store, *rest, **named):
        found = read(url, store, *rest, **named)
        if "cell" in found:
            found["cell"] = found["cell"].copy(data=np.zeros(found.sizes["host"], found["cell"].dtype))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "read_head", crossed)
        with pytest.raises(SplitError, match="cell"):
            open_view(spoilt)


def test_select_keeps_units_whole_and_says_what_it_cannot(train):
    some = train.select(train.samples["host_index"].values % 2 == 0)
    assert some.n_units <= train.n_units
    every = pixels(train)
    assert all(np.array_equal(x, every[i], equal_nan=True) for i, x in pixels(some).items())
    with pytest.raises(ExportError, match="a mask of shape"):
        train.select(np.ones(3, bool))
    with pytest.raises(ExportError, match="no unit 99"):
        train.raw(99)


def test_kinds_of_negatives_have_names(train):
    assert {NEGATIVE_KINDS[k] for k in np.unique(train.samples["negative_kind"].values) if k >= 0} == {
        "control", "counterfactual", "host_other",
    }  # fmt: skip
    assert replace(train.counts).negatives.keys() == {"control", "counterfactual", "host_other"}


def test_a_missing_run_is_a_store_error(tmp_path):
    with pytest.raises((StoreError, ConfigError)):
        open_view(str(tmp_path / "nothing"))


@pytest.mark.parametrize("light", ["radial", "smooth"])
def test_without_the_lens_light_every_image_is_its_own_residual(run, train, light):
    got, raw = pixels(open_view(run, lens_light=light)), pixels(train)
    s = train.samples
    assert got.keys() == raw.keys()
    ids = s["sample_id"].values.tolist()
    whole = np.stack([raw[i] for i in ids])
    own = without_light(whole, light, s["x_center"].values, s["y_center"].values, missing=np.nan)
    # Of positives, controls, counterfactuals and other hosts alike: nothing but the image and its target is read.
    np.testing.assert_array_equal(np.stack([got[i] for i in ids]), own)
    assert len(np.unique(s["negative_kind"].values)) > 2


def test_constants_of_a_view_without_lens_light_are_those_of_what_is_left(run):
    kept, left = (
        open_view(run, lens_light=v, normalisation={"kind": "dataset"}).normalisation for v in ("kept", "radial")
    )
    assert all(a < b for a, b in zip(left.s, kept.s, strict=True)) and left.n_pixels == kept.n_pixels
    assert open_view(run, lens_light="radial", normalisation={"kind": "survey"}).normalisation.a == (0.0,) * 3


def test_pairs_and_triplets_are_without_lens_light_and_residuals_refuse_it(run):
    two = open_view(run, view="triplet", lens_light="radial")
    x = two.raw(0)["x"]
    kept = open_view(run, view="triplet").raw(0)["x"]
    assert x.shape == kept.shape and np.nanmedian(np.abs(x)) < np.nanmedian(np.abs(kept))
    with pytest.raises(ExportError, match="lens_light radial does not go with view residual"):
        open_view(run, view="residual", purpose="study", residual_negatives="matched", lens_light="radial")
    with pytest.raises(ExportError, match="lens_light smooth does not go with quantize sky/16"):
        open_view(run, lens_light="smooth", quantize="sky/16")


@pytest.mark.parametrize("where", ["export", "scorer"])
def test_a_training_refuses_images_that_its_network_would_not_score(run, where):
    section = getattr(run, where).model_copy(update={"lens_light": "radial"})
    with pytest.raises(ExportError, match=f"{where}.lens_light (is )?radial.*score other images than it learns from"):
        Views.open(run.model_copy(update={where: section}), lambda *_: None)
