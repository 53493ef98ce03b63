"""Sources of a disc, a bulge and knots: what is rendered is the sum of their profiles, in colours of their own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lensflow.errors import ManifestError
from lensflow.lensing import magnification, point_magnification, render
from lensflow.lensing.components import KNOTS, source_profiles
from lensflow.lensing.render_reference import image_of_samples, lensed_light, ray_positions, render_row_reference
from lensflow.lensing.sources import sersic_b

from .references import finer
from .rows import Manifest, error_over_peak, one_row, random_rows, scalars, take, with_components

PIXEL = 0.262
GOAL = 1e-3


def without_components(rows: Manifest, places: int = 6) -> Manifest:
    """The same rows, with columns that say that there is neither a bulge nor a knot."""
    empty = with_components(rows, places=places)
    return empty | {k: np.where(np.isnan(v), v, np.nan) for k, v in empty.items() if k.startswith("src_knot_")} | {
        "src_bulge_share": np.zeros_like(rows["src_flux_nmgy"]),
        "src_bulge_reff_arcsec": np.full(len(rows["src_n"]), np.nan),
        "src_knots": np.zeros(len(rows["src_n"])),
        "src_knots_share": np.zeros_like(rows["src_flux_nmgy"]),
    }  # fmt: skip


def one_by_one(rows: Manifest) -> list[tuple[Manifest, np.ndarray]]:
    """The rows as Sersic rows, the first components, then the second ones ...; and what share of the flux they have."""
    shown = [source_profiles(scalars(rows, i)) for i in range(len(rows["src_n"]))]
    out = []
    for k in range(max(map(len, shown))):
        ones = [s[min(k, len(s) - 1)] for s in shown]
        share = np.array([one.share * (k < len(s)) for one, s in zip(ones, shown, strict=True)])
        part = {
            **{n: v for n, v in rows.items() if "bulge" not in n and "knot" not in n},
            "src_flux_nmgy": rows["src_flux_nmgy"] * share,
            **{f"src_{n}": np.array([getattr(one, n) for one in ones])
               for n in ("x_arcsec", "y_arcsec", "reff_arcsec", "n", "q", "phi_rad")},
        }  # fmt: skip
        out.append((part, share))
    return out


def apart(rows: Manifest, **how) -> tuple[np.ndarray, np.ndarray]:
    """Arcs of the rows as the sum of Sersic rows, one for each component, and their lensed over unlensed flux."""
    arcs, lensed = 0.0, 0.0
    for part, share in one_by_one(rows):
        found = render(part, **how)
        arcs, lensed = arcs + found.arc.astype(np.float64), lensed + found.magnification[:, None] * share
    return arcs, lensed


# --- what is rendered -------------------------------------------------------------------------------------------------


def test_without_bulge_and_knots_a_row_is_the_sersic_one_to_the_bit():
    rows = random_rows(8)
    plain, found = render(rows), render(without_components(rows))
    for name in ("arc", "render_err", "magnification", "band_magnification"):
        np.testing.assert_array_equal(getattr(found, name), getattr(plain, name))
    np.testing.assert_array_equal(plain.band_magnification, np.repeat(plain.magnification[:, None], 3, axis=1))
    only_bulge = {k: v for k, v in without_components(rows).items() if k not in KNOTS}
    np.testing.assert_array_equal(render(only_bulge).arc, plain.arc)


@pytest.mark.parametrize("model", ["SIE", "EPL"])
def test_the_arc_is_the_sum_of_the_components_rendered_apart(model):
    rows = random_rows(12, 4) | {"lens_gamma": np.linspace(1.8, 2.2, 12)}
    rows["lens_model"][rows["lens_model"] == "SIE"] = model
    rows = with_components(rows)
    found, (arcs, lensed) = render(rows), apart(rows)
    error = error_over_peak(found.arc, arcs)
    assert error.max() < 4e-4
    assert (error < 2 * found.render_err).all()
    assert found.render_err.max() < GOAL
    np.testing.assert_allclose(found.arc.sum((2, 3)), arcs.sum((2, 3)), rtol=3e-4)
    np.testing.assert_allclose(found.band_magnification, lensed, rtol=3e-4)


def test_a_row_has_the_same_bits_in_any_batch():
    rows = {k: v.copy() for k, v in with_components(random_rows(6, 5)).items()}
    plain = without_components(take(rows, [1, 4]))
    for name, values in plain.items():
        rows[name][[1, 4]] = values
    together = render(rows)
    for index in ([0], [1], [5, 3], [2, 4]):
        alone = render(take(rows, index))
        np.testing.assert_array_equal(alone.arc, together.arc[index])
        np.testing.assert_array_equal(alone.render_err, together.render_err[index])
        np.testing.assert_array_equal(alone.band_magnification, together.band_magnification[index])


def test_the_order_of_the_knots_does_not_matter():
    rows = with_components(random_rows(6), knots=6)
    order = [3, 0, 5, 1, 4, 2]
    turned = rows | {k: v[:, order] for k, v in rows.items() if k.startswith("src_knot_")}
    assert error_over_peak(render(turned).arc, render(rows).arc).max() < 2e-6


def test_a_quarter_turn_of_all_turns_the_image():
    rows = with_components(random_rows(6, x_center=31.5, y_center=31.5))
    x, y = rows["src_knot_x_arcsec"], rows["src_knot_y_arcsec"]
    turned = rows | {"src_x_arcsec": -rows["src_y_arcsec"], "src_y_arcsec": rows["src_x_arcsec"],
                     "src_knot_x_arcsec": -y, "src_knot_y_arcsec": x}  # fmt: skip
    turned |= {k: rows[k] + 0.5 * np.pi for k in rows if k.endswith("phi_rad")}
    expected = np.rot90(render(rows).arc, -1, axes=(2, 3))
    assert error_over_peak(render(turned).arc, expected).max() < 2 * render(rows).render_err.max()


@given(
    shares=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=2),
    weights=st.lists(st.floats(0.01, 1), min_size=1, max_size=5),
    seed=st.integers(0, 1000),
)
@settings(max_examples=25, deadline=None)
def test_components_keep_the_flux_in_every_band(shares, weights, seed):
    both = np.array(shares) / np.maximum(np.sum(shares, axis=1), 1)[:, None]
    k = len(weights)
    rows = with_components(random_rows(1, seed, 2), knots=k, places=5)
    rows |= {"src_bulge_share": both[None, :, 0], "src_knots_share": both[None, :, 1]}
    rows["src_knot_weight"][0, :k] = np.array(weights) / sum(weights)
    total = sum(one.share for one in source_profiles(scalars(rows)))
    np.testing.assert_allclose(total, 1.0, atol=2e-9)
    found = render(rows, stamp_size=96)
    per_band = found.arc.sum((2, 3)) / rows["src_flux_nmgy"]
    # What is on the stamp is what was lensed; the rest is light that a Moffat's wings carry off it.
    assert (per_band <= found.band_magnification * (1 + GOAL)).all()
    assert (per_band >= found.band_magnification * 0.9).all()


def test_the_colour_varies_along_the_arc_and_the_total_is_exact():
    rows = one_row(src_flux_nmgy=[2.0, 4.0, 6.0], psf_fwhm_arcsec=[1.1, 1.1, 1.1], src_x_arcsec=0.1, src_y_arcsec=-0.1)
    rows = with_components(
        rows, knots=2, src_bulge_share=[0.02, 0.25, 0.35], src_knots_share=[0.6, 0.25, 0.15], src_bulge_reff_arcsec=0.05
    )
    rows["src_knot_x_arcsec"][0, :2], rows["src_knot_y_arcsec"][0, :2] = [0.5, 0.45], [0.3, -0.4]
    smooth = render({k: v for k, v in rows.items() if "bulge" not in k and "knot" not in k}, stamp_size=128)
    found = render(rows, stamp_size=128)

    def colours(arc):
        lit = arc[0, 1] > 0.1 * arc[0, 1].max()
        return -2.5 * np.log10(arc[0, 0][lit] / arc[0, 1][lit])

    assert np.ptp(colours(smooth.arc)) < 0.001
    assert np.ptp(colours(found.arc)) > 0.8
    on_stamp = found.arc[0].sum((1, 2)) / (found.band_magnification[0] * rows["src_flux_nmgy"][0])
    np.testing.assert_allclose(on_stamp, on_stamp[0], rtol=2e-3)  # the same in all bands, though their arcs differ
    blue, _, red = found.band_magnification[0]
    assert abs(blue / red - 1) > 0.05
    weighted = (found.band_magnification * rows["src_flux_nmgy"]).sum() / rows["src_flux_nmgy"].sum()
    assert found.magnification[0] == pytest.approx(weighted, rel=1e-12)


def test_the_magnification_of_a_knot_is_that_of_a_point():
    rows = one_row(src_reff_arcsec=0.1, src_x_arcsec=0.4, src_y_arcsec=0.3)
    rows = with_components(
        rows, knots=1, src_bulge_share=0.0, src_knots_share=[0.0, 0.5, 1.0], src_knot_reff_arcsec=0.002
    )
    rows["src_knot_x_arcsec"][0, 0], rows["src_knot_y_arcsec"][0, 0] = 1.0, 1.5
    rows["src_knot_reff_arcsec"][0, 1:] = np.nan
    rows |= {"lens_model": np.array(["SIS"]), "lens_q": np.ones(1), "shear": np.zeros(1)}
    of_disc, half, of_knot = render(rows).band_magnification[0]
    beta = np.hypot(1.4, 1.8)
    assert of_knot == pytest.approx(1 + 1.4 / beta, rel=1e-4)
    assert of_knot == pytest.approx(point_magnification(*(1 + 1.4 / beta) * np.array([1.4, 1.8]), 1.4), rel=1e-4)
    assert half == pytest.approx(0.5 * (of_disc + of_knot), rel=1e-9)
    assert magnification(rows)[0] == pytest.approx(render(rows).magnification[0], rel=GOAL)


# --- judges that share nothing with the engine ------------------------------------------------------------------------


def on_the_caustic(n: int, seed: int) -> Manifest:
    """Rows whose knots, smaller than a tenth of a pixel, lie on or beside the caustic of their lens."""
    rng = np.random.default_rng(seed)
    rows = random_rows(n, seed, 2, lens_model="SIE", theta_e_arcsec=0.8, src_reff_arcsec=0.2, src_q=0.8)
    rows |= {"lens_q": rng.uniform(0.5, 0.8, n), "shear": np.full(n, 0.05)}
    rows |= {k: rng.uniform(-0.05, 0.05, n) for k in ("src_x_arcsec", "src_y_arcsec")}
    rows = with_components(rows, seed, knots=5, src_bulge_n=1.0, src_bulge_q=0.7, src_bulge_phi_rad=0.4)
    angle, away = rng.uniform(0, 2 * np.pi, (n, 5)), rng.uniform(0.05, 0.35, (n, 5))
    rows["src_knot_x_arcsec"][:, :5], rows["src_knot_y_arcsec"][:, :5] = away * np.cos(angle), away * np.sin(angle)
    rows["src_knot_reff_arcsec"][:, :5] = rng.uniform(0.012, 0.03, (n, 5))
    return rows


def by_lenstronomy(row: dict, size: int, rays: int = 16, pad: int = 8) -> np.ndarray:
    """Bands by lenstronomy's lens and its list of light profiles, on uniform rays; the PSF by a plain Fourier sum."""
    from lenstronomy.LensModel.lens_model import LensModel
    from lenstronomy.LensModel.Profiles.sersic_utils import SersicUtil
    from lenstronomy.LightModel.light_model import LightModel
    from lenstronomy.Util.param_util import phi_q2_ellipticity, shear_polar2cartesian

    e1, e2 = phi_q2_ellipticity(row["lens_phi_rad"], row["lens_q"])
    g1, g2 = shear_polar2cartesian(row["shear_phi_rad"], row["shear"])
    kwargs_lens = [{"theta_E": row["theta_e_arcsec"], "e1": e1, "e2": e2}, {"gamma1": g1, "gamma2": g2}]

    def sersic(reff, n, q, phi):
        e1, e2 = phi_q2_ellipticity(phi, q)
        # lenstronomy's radius is the geometric mean of the axes, and its b_n a line in n, off by 0.4 % at n = 1.
        reff = reff * np.sqrt(q) * (float(SersicUtil().b_n(n)) / float(sersic_b(n))) ** n
        at = {"center_x": row["src_x_arcsec"], "center_y": row["src_y_arcsec"]}
        return {"amp": 1.0, "R_sersic": reff, "n_sersic": n, "e1": e1, "e2": e2, **at}

    knots = int(row["src_knots"])
    model = LightModel(["SERSIC_ELLIPSE", "SERSIC_ELLIPSE", *["GAUSSIAN"] * knots])
    light = [
        sersic(row["src_reff_arcsec"], row["src_n"], row["src_q"], row["src_phi_rad"]),
        sersic(*(row[f"src_bulge_{k}"] for k in ("reff_arcsec", "n", "q", "phi_rad"))),
    ]
    for k in range(knots):
        light.append({
            "amp": 1.0, "sigma": row["src_knot_reff_arcsec"][k] / np.sqrt(2 * np.log(2)),
            "center_x": row["src_x_arcsec"] + row["src_knot_x_arcsec"][k],
            "center_y": row["src_y_arcsec"] + row["src_knot_y_arcsec"][k],
        })  # fmt: skip
    norms = model.total_flux(light, norm=True)
    x, y = (ray_positions(size, pad, rays, PIXEL, row[k]) for k in ("x_center", "y_center"))
    x, y = (v.ravel() for v in np.meshgrid(x, y))
    u, v = LensModel(["SIE", "SHEAR"]).ray_shooting(x, y, kwargs_lens)
    arc = []
    for width, total, b, s in zip(
        row["psf_fwhm_arcsec"], row["src_flux_nmgy"], row["src_bulge_share"], row["src_knots_share"], strict=True
    ):
        share = [1 - b - s, b, *(s * row["src_knot_weight"][:knots])]
        shown = [{**one, "amp": part / norm} for one, part, norm in zip(light, share, norms, strict=True)]
        flux = model.surface_brightness(u, v, shown) * (PIXEL / rays) ** 2 * total
        kept = flux > 1e-8 * flux.max()
        samples = np.stack([x / PIXEL + row["x_center"], y / PIXEL + row["y_center"], flux])[:, kept]
        arc.append(image_of_samples(samples, width / PIXEL, stamp_size=size, period_pix=96, level=1e-5))
    return np.array(arc)


def test_compact_knots_on_caustics_are_as_lenstronomy_has_them():
    pytest.importorskip("lenstronomy")
    rows = on_the_caustic(2, 2) | {"x_center": np.full(2, 15.7), "y_center": np.full(2, 15.4)}
    found = render(rows, stamp_size=32)
    truth = np.array([by_lenstronomy(scalars(rows, i), 32) for i in range(2)])
    error = error_over_peak(found.arc, truth)
    flux = np.abs(found.arc.sum((2, 3)) / truth.sum((2, 3)) - 1)
    print(f"error/peak {error}, flux {flux.max():.1e}, render_err {found.render_err}")
    assert error.max() < GOAL
    assert flux.max() < GOAL
    assert (error < 3 * found.render_err).all()
    assert found.render_err.max() < GOAL


def test_the_reference_renderer_knows_components():
    pytest.importorskip("lenstronomy")
    row = scalars(on_the_caustic(1, 3) | {"x_center": np.full(1, 15.7), "y_center": np.full(1, 15.4)})
    arc, truth = render_row_reference(row, stamp_size=32, supersample=16, pad_pix=8), by_lenstronomy(row, 32)
    assert error_over_peak(arc[None], truth[None]) < 1e-4
    with pytest.raises(ManifestError, match="which band"):
        lensed_light(row, np.zeros(1), np.zeros(1))


@pytest.mark.parametrize("seed", [1, 2])
def test_render_err_is_honest_for_compact_knots_on_caustics(seed):
    rows = on_the_caustic(40, seed)
    # As compact as they come, and nearly all of the light, in the band with the wider PSF alone.
    rows["src_knot_reff_arcsec"] *= np.linspace(0.1, 1, 40)[:, None]
    rows |= {"src_knots_share": np.tile([0.85, 0.05], (40, 1)), "src_bulge_share": np.full((40, 2), 0.05)}
    rows["psf_fwhm_arcsec"] = np.tile([1.3, 1.1], (40, 1))
    found = render(rows)
    with finer():
        truth = render(rows).arc
    error = error_over_peak(found.arc, truth)
    ratio = (error / found.render_err).max()
    print(f"error/peak: median {np.median(error):.1e}, max {error.max():.1e}; over render_err {ratio:.2f}")
    assert error.max() < GOAL
    assert (error < 2.5 * found.render_err).all()
    assert np.median(found.render_err) < GOAL


def test_an_error_in_another_band_than_the_sharpest_counts(monkeypatch):
    """Knots that are sampled far too coarsely and have light in one band alone: not the one with the sharpest PSF."""
    from lensflow.lensing.engine import pack

    rows = on_the_caustic(4, 4) | {"src_knots_share": np.tile([0.9, 0.0], (4, 1)), "src_bulge_share": np.zeros((4, 2))}
    rows["psf_fwhm_arcsec"] = np.tile([1.3, 1.1], (4, 1))
    honest = render(rows)
    monkeypatch.setattr(pack, "_LONGEST_PART", 12.0)
    monkeypatch.setattr(pack, "_PART_POWER", -20)
    poor = render(rows)
    error = error_over_peak(poor.arc, honest.arc)
    assert (error > 5 * GOAL).any()
    assert (poor.render_err[error > 2 * GOAL] > GOAL).all()
    np.testing.assert_allclose(poor.arc[:, 1], honest.arc[:, 1], atol=1e-5 * honest.arc[:, 1].max())


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("src_bulge_share", -0.1, r"row 1, band 0: src_bulge_share must be in \[0, 1\]"),
        ("src_bulge_share", np.nan, r"src_bulge_share must be in \[0, 1\]"),
        ("src_knots_share", 0.9, r"row 1, band 1: src_bulge_share \+ src_knots_share must be at most 1, not 1.15"),
        ("src_knots_share", 1.1, r"src_knots_share must be in \[0, 1\]"),
        ("src_bulge_reff_arcsec", 0.0, "src_bulge_reff_arcsec must be > 0 where"),
        ("src_bulge_reff_arcsec", np.nan, "src_bulge_reff_arcsec must be > 0 where"),
        ("src_bulge_n", 9.0, r"src_bulge_n must be in \[0.3, 8.0\]"),
        ("src_bulge_q", 0.0, r"src_bulge_q must be in \(0, 1\]"),
        ("src_bulge_phi_rad", np.inf, "src_bulge_phi_rad must be finite"),
        ("src_knots", 2.5, "row 1: src_knots must be a whole number from 0 to 6, not 2.5"),
        ("src_knots", 7, "src_knots must be a whole number from 0 to 6"),
        ("src_knots", np.nan, "src_knots must be a whole number"),
        ("src_knots", 0, "src_knots must be 1 or more where src_knots_share is above 0"),
        ("src_knots", 3, r"row 1, knot 3: src_knot_x_arcsec must be empty \(NaN\) in places beyond"),
        ("src_knots", 5, "row 1, knot 4: src_knot_x_arcsec must be finite, not nan"),
    ],
)
def test_impossible_components_are_refused_by_name_and_row(column, value, message):
    rows = with_components(random_rows(3))
    rows[column] = rows[column].astype(np.float64)
    rows[column][1] = value
    with pytest.raises(ManifestError, match=message):
        render(rows)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("src_knot_reff_arcsec", 0.0, r"row 1, knot 2: src_knot_reff_arcsec must be > 0, not 0"),
        ("src_knot_reff_arcsec", np.nan, "src_knot_reff_arcsec must be > 0, not nan"),
        ("src_knot_x_arcsec", np.nan, "src_knot_x_arcsec must be finite"),
        ("src_knot_weight", -0.1, "src_knot_weight must be >= 0"),
        ("src_knot_weight", 2.0, "row 1: the sum of src_knot_weight must be 1"),
    ],
)
def test_impossible_knots_are_refused_by_name_row_and_place(column, value, message):
    rows = with_components(random_rows(3))
    rows[column][1, 2] = value
    with pytest.raises(ManifestError, match=message):
        render(rows)


def test_columns_of_a_group_are_given_together_and_images_have_none():
    rows = with_components(random_rows(2))
    with pytest.raises(ManifestError, match="src_bulge_share is given without src_bulge_n"):
        render({k: v for k, v in rows.items() if k != "src_bulge_n"})
    with pytest.raises(ManifestError, match="src_knots is given without src_knot_weight"):
        render({k: v for k, v in rows.items() if k != "src_knot_weight"})
    with pytest.raises(ManifestError, match="different numbers of places"):
        render(rows | {"src_knot_weight": np.full((2, 3), 1 / 3)})
    with pytest.raises(ManifestError, match="bands differ"):
        render(rows | {"src_bulge_share": np.zeros((2, 2))})
    with pytest.raises(ManifestError, match="src_knot_weight must have the shape"):
        render(rows | {"src_knot_weight": np.ones(2)})
    from .images import Bank, lumpy_source, with_images

    with pytest.raises(ManifestError, match="row 0: src_bulge_share must be 0 where src_id names an image"):
        render(with_images(rows, "lumpy"), sources=Bank(lumpy=lumpy_source()))
    # Controls are not looked at.
    control = rows | {"lens_model": np.array(["CONTROL", "SIE"])}
    control["src_bulge_share"][0] = np.nan
    assert (render(control).arc[0] == 0).all()
