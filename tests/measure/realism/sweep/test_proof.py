"""The proof: a change of one value in one row of 10,000 is found, named and counted, in any division into blocks."""

import numpy as np
import pytest
import xarray as xr

from lensflow import schema
from lensflow.errors import RealismError
from lensflow.injection import inject_block
from lensflow.injection.rounding import as_stored
from lensflow.manifest.build import build_manifest
from lensflow.measure.realism.sweep.factors import FACTORS, NULL_ARM, find_factor
from lensflow.measure.realism.sweep.proof import Proof, judge
from lensflow.measure.realism.sweep.relations import Side
from tests.factories import make_config, make_cutouts

N = 10_000
NARROW = {"core_mask_radius_pix": 5.0, "core_mask_width_pix": 0.4}


@pytest.fixture(scope="module")
def rows():
    """Every column of the manifest and three tiny pixel arrays, 10,000 rows."""
    rng = np.random.default_rng(1)
    data = {}
    for v in schema.MANIFEST:
        shape = (N, 3) if "band" in v.dims else (N,)
        if v.dtype.startswith("U"):
            values = rng.choice(["SIE", "CONTROL"], shape)
        else:
            values = rng.integers(0, 200, shape).astype(v.dtype)
        data[v.name] = (v.dims, values)
    data["src_z"] = (("sample",), np.full(N, np.nan))
    data["row_id"] = (("sample",), np.arange(N, dtype=np.uint64) + 2**63)
    for name in ("arc", "stamp", "ctrl"):
        data[name] = (("sample", "band", "y", "x"), rng.normal(size=(N, 3, 2, 2)).astype(np.float32))
    return xr.Dataset(data)


def sides(a, b, config=None):
    return [Side(p, xr.Dataset(), config or make_config()) for p in (a, b)]


def changed(rows, **columns):
    return rows.copy().assign({k: (rows[k].dims, v) for k, v in columns.items()})


def recoloured(rows):
    """What a sweep of the colours may do: flux and arcs outside of r."""
    flux, arc, stamp = (rows[n].values.copy() for n in ("src_flux_nmgy", "arc", "stamp"))
    flux[:, [0, 2]] *= 1.1
    arc[:, [0, 2]] *= 1.1
    return changed(rows, src_flux_nmgy=flux, arc=arc, stamp=stamp + 1)


def test_a_factor_that_leaks_into_one_value_of_one_row_of_10000_is_caught(rows):
    factor = FACTORS["plan.colours"]
    arm = recoloured(rows)
    judge(Proof.from_blocks(*sides(rows, arm), factor), factor)
    every = [v.name for v in schema.MANIFEST if v.name not in (*factor.owned, "row_id")]
    for name in (*every, "ctrl"):
        values = arm[name].values.copy()
        at = (6789, *[1] * (values.ndim - 1))
        values[at] = "EPL" if values.dtype.kind == "U" else ~values[at] if values.dtype == bool else values[at] * 0 + 77
        if name == "src_z":
            values[at] = 1.0
        proof = Proof.from_blocks(*sides(rows, changed(arm, **{name: values})), factor)
        with pytest.raises(RealismError, match=f"factor 'colours' also changed {name} in 1 row .first: row_id "
                                               f"{2**63 + 6789}"):  # fmt: skip
            judge(proof, factor)


def test_knots_and_bulges_are_among_what_is_compared(rows):
    factor = FACTORS["plan.src_knots.share"]
    several = rows.assign({
        v.name: (v.dims, np.ones([{"sample": N, "band": 3, "knot": schema.N_KNOTS}[d] for d in v.dims], v.dtype))
        for v in schema.COMPONENTS
    })  # fmt: skip
    arm = changed(
        several,
        src_knots_share=2 * several["src_knots_share"].values,
        arc=rows["arc"].values + 1,
        stamp=rows["stamp"].values + 1,
    )
    judge(Proof.from_blocks(*sides(several, arm), factor), factor)
    leaking = changed(arm, src_bulge_n=np.where(np.arange(N) == 17, 2.0, 1.0))
    with pytest.raises(RealismError, match="factor 'share' also changed src_bulge_n in 1 row"):
        judge(Proof.from_blocks(*sides(several, leaking), factor), factor)
    with pytest.raises(RealismError, match="also changed src_bulge_n in 10,000 rows"):
        judge(Proof.from_blocks(*sides(several, arm.drop_vars("src_bulge_n")), factor), factor)


def test_the_arc_in_r_is_the_same_bits_under_other_colours(rows):
    arm = recoloured(rows)
    arc = arm["arc"].values.copy()
    arc[41, 1, 0, 0] = np.nextafter(arc[41, 1, 0, 0], np.float32(9))
    with pytest.raises(RealismError, match="also changed arc in r in 1 row"):
        judge(Proof.from_blocks(*sides(rows, changed(arm, arc=arc)), FACTORS["plan.colours"]), FACTORS["plan.colours"])


def test_many_rows_are_counted_and_the_way_out_is_said(rows):
    factor = FACTORS["plan.colours"]
    size = rows["src_reff_arcsec"].values.copy()
    size[::3] += 1
    proof = Proof.from_blocks(*sides(rows, changed(recoloured(rows), src_reff_arcsec=size)), factor)
    with pytest.raises(
        RealismError, match=r"'colours' also changed src_reff_arcsec in 3,334 rows .*give plan.src_reff"
    ):
        judge(proof, factor)


def test_blocks_add_up_to_the_whole_whatever_they_are(rows):
    factor = FACTORS["plan.colours"]
    theta_e = rows["theta_e_arcsec"].values.copy()
    theta_e[[5, 9000]] += 1
    arm = changed(recoloured(rows), theta_e_arcsec=theta_e)
    parts = [Proof.from_blocks(*sides(rows.isel(sample=s), arm.isel(sample=s)), factor)
             for s in (slice(0, 4000), slice(4000, 4000), slice(4000, N))]  # fmt: skip
    found, turned = Proof.joined(parts), Proof.joined(parts[::-1])
    assert found.result().equals(turned.result().assign(first_row_id=found.result()["first_row_id"]))
    theta = found.arrays["theta_e_arcsec"]
    assert (theta.n_rows, theta.n_differ, theta.first) == (N, 2, 2**63 + 5)
    table = found.result().sel(array="lens_q")
    assert str(table["hash_a"].values) == str(table["hash_b"].values) != "0" * 32


def test_rows_that_are_moved_or_missing_are_no_pair(rows):
    with pytest.raises(RealismError, match="which rows there are: 1 are in the reference only, 0 in the arm only"):
        Proof.from_blocks(*sides(rows, rows.isel(sample=slice(1, None))), FACTORS["plan.src_n"])
    turned = rows.isel(sample=np.r_[1, 0, 2:N])
    with pytest.raises(RealismError, match="which rows there are"):
        Proof.from_blocks(*sides(rows, turned), FACTORS["plan.src_n"])


def test_a_null_arm_is_bit_equal_or_an_error(rows):
    judge(Proof.from_blocks(*sides(rows, rows.copy()), NULL_ARM), NULL_ARM)
    stamp = rows["stamp"].values.copy()
    stamp[3, 0, 0, 0] = np.nextafter(stamp[3, 0, 0, 0], np.float32(9))
    with pytest.raises(RealismError, match="the null arm is not the reference: stamp in 1 row"):
        judge(Proof.from_blocks(*sides(rows, changed(rows, stamp=stamp)), NULL_ARM), NULL_ARM)
    zero = rows["arc"].values.copy()
    zero[3, 0, 0, 0] = 0.0
    minus = zero.copy()
    minus[3, 0, 0, 0] = -0.0
    with pytest.raises(RealismError, match="arc in 1 row"):
        judge(Proof.from_blocks(*sides(changed(rows, arc=zero), changed(rows, arc=minus)), NULL_ARM), NULL_ARM)


def test_a_factor_that_changes_no_pixel_is_said(rows):
    size = rows["src_n"].values + 1.0
    with pytest.raises(RealismError, match="'src_n' changed nothing"):
        judge(Proof.from_blocks(*sides(rows, changed(rows, src_n=size)), FACTORS["plan.src_n"]), FACTORS["plan.src_n"])


@pytest.fixture(scope="module")
def real():
    """Hosts and the manifest of a few real rows."""
    cutouts = make_cutouts(4, size=48, absent=((1, 0),)).assign_coords(host_index=("host", np.arange(4)))
    return cutouts, build_manifest(cutouts, make_config(plan={"injections_per_host": 3}))


def arm(real, **sections):
    hosts, _ = real
    config = make_config(**sections)
    manifest = build_manifest(hosts, make_config(plan={"injections_per_host": 3, **sections.get("plan", {})}))
    block = as_stored(inject_block(hosts, manifest, config.injection), hosts, manifest, config.store)
    return Side(manifest.assign(block.data_vars), hosts, config)


@pytest.mark.parametrize(
    ("setting", "was", "now"),
    [
        ("plan.src_mag_shift", {"plan": {"src_mag_shift": 0.5}}, {"plan": {"src_mag_shift": -0.2}}),
        ("injection.gain_factor", {}, {"injection": {"gain_factor": 1e6}}),
        ("injection.noise", {}, {"injection": {"noise": False}}),
        ("injection.core_mask_radius_pix", {"injection": {"core_mask_radius_pix": 3.0}},
         {"injection": {"core_mask_radius_pix": 6.0, "core_mask_method": "hard"}}),
        ("injection.core_mask_method", {"injection": {**NARROW, "core_mask_method": "taper"}},
         {"injection": {**NARROW, "core_mask_method": "tanh"}}),
        ("store.quantize", {}, {"store": {"quantize": "sky/16"}}),
        ("store.quantize", {"store": {"quantize": "sky/8"}}, {"store": {"quantize": "sky/16"}}),
        ("plan.psf_width_factor", {}, {"plan": {"psf_width_factor": 1.1}}),
        ("plan.colours", {"plan": {"colours": "v3"}}, {"plan": {"colours": "uv_slope"}}),
    ],
)  # fmt: skip
def test_relations_hold_between_real_arms_and_break_with_one_pixel(real, setting, was, now):
    factor, a, b = find_factor(setting), arm(real, **was), arm(real, **now)
    judge(proof := Proof.from_blocks(a, b, factor), factor)
    said = [n for n, c in proof.arrays.items() if c.role == "relation"]
    assert len(said) == {"store.quantize": 3}.get(setting, len(factor.relations))
    which = "stamp" if "noise" in factor.relations else "arc"
    size = a.pixels("arc").shape[-1]
    values = b.pixels(which).copy()
    row = int(np.argmax(~b.pairs["is_control"].values & ~a.pairs["band_absent"].values))
    # The brightest pixel in r that no mask covers.
    far = np.hypot(*(np.mgrid[:size, :size] - size / 2)) > 9 if "outside_mask" in factor.relations else True
    y, x = np.unravel_index(np.argmax(a.pixels("arc")[row, 1] * far), (size, size))
    values[row, 1, y, x] *= np.float32(1.01)
    odd = Side(b.pairs.assign({which: (b.pairs[which].dims, values)}), b.hosts, b.config)
    if factor.relations:
        with pytest.raises(RealismError, match="also changed"):
            judge(Proof.from_blocks(a, odd, factor), factor)
