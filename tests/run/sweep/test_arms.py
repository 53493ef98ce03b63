"""Arms are ordinary runs that differ in one setting; those that change noise or rounding alone render nothing."""

import inspect
import shutil
from pathlib import Path

import pytest

import lensflow as lf
from lensflow.config.sweep import parse_levels
from lensflow.errors import ConfigError, RealismError, StaleStoreError, StoreError
from lensflow.injection import inject
from lensflow.manifest.build import Planner
from lensflow.measure.realism.sweep.factors import NULL_ARM
from lensflow.run import verify_step
from lensflow.run.cut import freeze_cutouts
from lensflow.run.execute import silent
from lensflow.run.inject import inject_step
from lensflow.run.plan import plan_step
from lensflow.run.rerender import rerender
from lensflow.run.sweep.arms import design_of, prepare_arm, prepare_base
from lensflow.run.sweep.make import FromArcsTask, made_of, make_arm
from lensflow.run.sweep.null import prove_null
from lensflow.run.sweep.prove import prove
from tests.run.sweep.small_sweep import N_HOSTS, PER_HOST, config_of, hosts, swept_run

pytestmark = pytest.mark.whole

ROWS = N_HOSTS * (PER_HOST + 1)


@pytest.fixture
def run(tmp_path):
    return swept_run(tmp_path / "run")


@pytest.fixture
def renders(monkeypatch):
    """Rows that the renderer was given."""
    count = []
    # The renderer is bound where the block is injected.
    optional = [p for p in inspect.signature(inject.inject_block).parameters.values() if p.default is not p.empty]
    at = [p.name for p in optional].index("renderer")
    defaults = list(inject.inject_block.__defaults__)
    real = defaults[at]

    def counted(columns, **more):
        count.append(len(columns["row_id"]))
        return real(columns, **more)

    defaults[at] = counted
    monkeypatch.setattr(inject.inject_block, "__defaults__", tuple(defaults))
    return count


def bytes_below(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def made(config, *texts, interaction=False):
    design = design_of(config, [parse_levels(t) for t in texts], interaction)
    prepare_base(design, silent)
    for arm in design.in_order:
        prepare_arm(design, arm, silent)
        make_arm(design, arm, silent)
    return design


def proofs(design):
    null = prove_null(design, silent)
    return null, [prove(design.arms[i], design.arms[j], f, design.folder, silent) for i, j, f in design.edges]


@pytest.mark.parametrize(
    ("factor", "arms"),
    [
        ("injection.noise=true,false", ["true", "false"]),
        pytest.param("injection.gain_factor=1,100", ["1", "100"], marks=pytest.mark.slow),
        ("store.quantize=none,sky/16", ["none", "sky-16"]),
    ],
)
def test_an_arm_that_changes_noise_or_rounding_renders_nothing_and_is_what_rendering_gives(
    run, renders, tmp_path, factor, arms
):
    design = made(run, factor)
    assert renders == [] and [a.label for a in design.arms] == arms
    assert [made_of(a).n_rendered for a in design.arms] == [ROWS, 0]
    assert design.reference.config.out == run.out  # the run itself is the arm with its own values
    assert proofs(design)[0].n_rendered == 0
    assert renders == []
    # A run of the arm's config from the start: every object of its pairs has the same bytes.
    last = design.arms[-1]
    other = swept_run(tmp_path / "other")
    alone = last.config.model_copy(update={"out": other.out})
    for store in ("pairs.zarr", "receipts/pairs"):
        shutil.rmtree(Path(other.out) / store)
    inject_step(alone)
    assert sum(renders) == ROWS
    for name in ("arc", "stamp", "metrics", "flags"):
        one, two = (bytes_below(Path(r) / "pairs.zarr" / name) for r in (last.config.out, other.out))
        assert one == two and len(one) > 1


def test_arcs_of_another_manifest_are_not_read(run, tmp_path):
    design = design_of(run, [parse_levels("injection.noise=true,false")])
    other = config_of(tmp_path / "other", seed=9)
    freeze_cutouts(hosts(), other)
    plan_step(other)
    arm = design.arms[1]
    for part in ("manifest.zarr", "receipts/manifest"):
        shutil.copytree(Path(other.out) / part, Path(arm.config.out) / part)
    with pytest.raises(StoreError, match="is not the manifest"):
        make_arm(design, arm, silent)


def test_where_no_arm_has_exact_arcs_each_is_rendered(run, renders):
    design = made(run, "store.quantize=sky/8,sky/16")
    assert design.source_of(design.arms[1]) is None and sum(renders) == 2 * ROWS
    assert proofs(design)[0].n_rendered == ROWS and sum(renders) == 3 * ROWS


def test_the_arm_with_exact_arcs_is_read_whatever_the_order(run, renders):
    design = made(run, "store.quantize=sky/16,none")
    assert renders == [] and [made_of(a).n_rendered for a in design.arms] == [0, ROWS]
    proofs(design)


def test_of_two_crossed_factors_one_that_changes_noise_alone_renders_nothing(run, renders):
    design = made(run, "injection.noise=true,false", "plan.src_n=1,4", interaction=True)
    assert [made_of(a).n_rendered for a in design.arms] == [ROWS, 0, ROWS, 0]
    assert sum(renders) == ROWS  # the arm with other sources
    assert len(proofs(design)[1]) == 4 and sum(renders) == 2 * ROWS  # and the null arm


def test_an_arm_is_an_ordinary_run(run):
    design = made(run, "injection.noise=true,false")
    arm = design.arms[1]
    opened = lf.open_run(arm.config.out)
    assert opened.config.injection.noise is False and opened.config.changed() != run.changed()
    assert not verify_step(arm.config.out).left
    assert rerender(arm.config.out, 0).attrs["identical"]
    ours, theirs = (lf.open_pairs(o, unseal_test="test")["ctrl"] for o in (arm.config.out, run.out))
    assert ours.equals(theirs)


def test_cutouts_are_linked_and_survive_the_run_being_deleted(run):
    design = made(run, "injection.noise=true,false")
    arm = design.arms[1].config
    shards = [p for p in (Path(arm.out) / "cutouts.zarr" / "image" / "c").rglob("*") if p.is_file()]
    assert shards and all(p.stat().st_nlink > 1 for p in shards)
    shutil.rmtree(Path(run.out) / "cutouts.zarr")
    assert not verify_step(arm.out).left


@pytest.mark.parametrize(
    ("factor", "columns", "relation"),
    [
        ("plan.colours=v3,uv_slope", {"src_flux_nmgy"}, "arc in r"),
        ("plan.src_mag_shift=0,0.5", {"src_flux_nmgy"}, "ratio of the arcs"),
        # A sweep of the PSF's width is in test_docs.py, one of the source's index in test_sweep.py.
        pytest.param("plan.psf_width_factor=1,1.1", {"psf_fwhm_arcsec"}, "", marks=pytest.mark.slow),
        pytest.param("plan.src_n=1,4", {"src_n"}, "", marks=pytest.mark.slow),
    ],
)
def test_a_factor_of_the_plan_changes_its_own_columns_alone(run, renders, factor, columns, relation):
    design = made(run, factor)
    stored = bytes_below(Path(run.out))
    made_again, (proof,) = proofs(design)
    null = made_again.proof.result()
    # The null arm is every stored array of every row, and leaves nothing but its proof.
    assert {"arc", "stamp", "metrics", "flags"} <= set(null["array"].values) and (null["n_rows"] == ROWS).all()
    left = set(bytes_below(Path(run.out))) - set(stored)
    assert made_again.n_rendered == ROWS and all("/proofs/" in name for name in left)
    assert (null["n_differ"] == 0).all() and (null["hash_a"] == null["hash_b"]).all()
    differ = {str(n) for n in proof["array"].values[(proof["n_differ"] > 0) & (proof["role"] == "owned")]}
    assert differ == columns
    assert not relation or int(proof["n_differ"].sel(array=relation)) == 0
    assert int(proof["n_rows"].sel(array="theta_e_arcsec")) == ROWS


def test_colours_that_sizes_follow_are_not_one_factor(tmp_path):
    """The preset realistic draws sizes by magnitude in i: other colours are other sizes."""
    run = swept_run(tmp_path / "run")
    for store in ("pairs.zarr", "manifest.zarr", "receipts/pairs", "receipts/manifest"):
        shutil.rmtree(tmp_path / "run" / store)
    run = config_of(run.out, plan={"preset": "realistic", "injections_per_host": PER_HOST})
    design = made(run, "plan.colours=uv_slope,v3")
    with pytest.raises(
        RealismError, match=r"factor 'colours' also changed .*src_reff_arcsec in 24 rows.*plan.src_reff"
    ):
        prove(*design.arms, design.factors[0], design.folder, silent)
    assert not list(Path(design.folder, "proofs").glob("*--v3.json"))


def test_a_leak_of_one_value_stops_the_sweep(run, monkeypatch):
    real = Planner._draw_hosts

    def leaky(self, *args, **kwargs):
        rows = real(self, *args, **kwargs)
        if self.config.plan.src_n == (4.0,):
            rows["shear_phi_rad"].values[7] += 1e-9
        return rows

    monkeypatch.setattr(Planner, "_draw_hosts", leaky)
    design = made(run, "plan.src_n=1,4")
    with pytest.raises(RealismError, match="factor 'src_n' also changed shear_phi_rad in 1 row"):
        proofs(design)


def test_a_proof_is_read_again_and_renewed_with_the_pixels(run, monkeypatch):
    design = made(run, "injection.noise=true,false")
    first = proofs(design)[1][0]
    with monkeypatch.context() as patch:
        patch.setattr("lensflow.run.sweep.prove.ProofTask", None)
        again = proofs(design)[1][0]
    assert again.equals(first) and len({str(h) for h in first["hash_a"].values}) > 10
    with pytest.raises(RealismError, match="the null arm is not the reference: stamp in 24 rows"):
        prove(design.reference, design.arms[1], NULL_ARM, design.folder, silent)


def test_a_given_manifest_cannot_be_drawn_with_another_setting(tmp_path):
    config, cutouts = config_of(tmp_path / "run"), hosts()
    lf.write_pairs(lf.inject(cutouts, lf.plan_injections(cutouts, config), config), config)
    with pytest.raises(ConfigError, match=r"plan.src_n: the manifest of .* was given, not drawn"):
        made(config, "plan.src_n=1,4")
    proofs(made(config, "injection.noise=true,false"))


def test_a_sweep_takes_one_factor_or_crosses_two(run):
    def refused(*texts, match, **more):
        with pytest.raises(ConfigError, match=match):
            design_of(run, [parse_levels(t) for t in texts], **more)

    refused("injection.noise=true,false", "plan.src_n=1,4", match="--interaction")
    refused("injection.noise=true,false", match="crosses two factors, not 1", interaction=True)
    refused("injection.noise=true,false", "plan.src_n=1,2,4", match="two values each", interaction=True)
    refused("injection.noise=true,true", match="named twice: true")
    refused("injection.noise=true", match="named twice: true")  # the run's own value
    refused("plan.src_n=1,1.0", match="two of its values are the same setting")
    refused(match="needs a factor")
    crossed = design_of(run, [parse_levels(t) for t in ("injection.noise=true,false", "plan.src_n=1,4")], True)
    assert [a.label for a in crossed.arms] == ["true+1", "false+1", "true+4", "false+4"]
    assert [(i, j, f.name) for i, j, f in crossed.edges] == [
        (0, 1, "noise"), (0, 2, "src_n"), (1, 3, "src_n"), (2, 3, "noise"),
    ]  # fmt: skip
    alone = design_of(run, [parse_levels("injection.noise=false")])
    assert [a.label for a in alone.arms] == ["true", "false"]


def test_an_arm_of_other_cutouts_is_refused(run, tmp_path):
    design = made(run, "injection.noise=true,false")
    root = Path(design.arms[1].config.out) / "cutouts.zarr"
    shutil.rmtree(root)
    shutil.rmtree(root.parent / "receipts" / "cutouts")
    other = config_of(tmp_path / "other", seed=9)
    freeze_cutouts(hosts(), other)
    for part in ("cutouts.zarr", "receipts/cutouts"):
        shutil.copytree(Path(other.out) / part, root.parent / part)
    with pytest.raises(StaleStoreError, match="seed: stored 9, now 5"):
        made(run, "injection.noise=true,false")


def test_images_as_sources_with_the_plans_size_and_flux_change_the_source_alone(run, tmp_path):
    from tests.run.test_images_and_kernels import source_images

    source_images(tmp_path / "sources")
    images = {"images": str(tmp_path / "sources" / "*.fits"), "pixel_scale_arcsec": 0.03}
    for size in ("native", "prior"):
        other = config_of(tmp_path / size, plan={"injections_per_host": 1, "sources": {**images, "size": size}},
                          splits={"fractions": [1.0, 0.0, 0.0]})  # fmt: skip
        freeze_cutouts(hosts().assign(split=("host", [0] * N_HOSTS)), other)
        design = made(other, "plan.sources.share=0,1")
        if size == "native":
            with pytest.raises(RealismError, match=r"'share' also changed src_reff_arcsec .*plan.sources.size: prior"):
                proofs(design)
            continue
        proof = proofs(design)[1][0]
        differ = proof["array"].values[(proof["role"] == "owned") & (proof["n_differ"] > 0)]
        assert {str(n) for n in differ} == {"src_id", "src_n", "src_q"}


def test_a_null_arm_that_is_another_in_one_bit_names_the_array_and_the_row(run, monkeypatch):
    design = made(run, "injection.noise=true,false")
    real = FromArcsTask.make

    def off(*given):
        block, found = real(*given)
        block["arc"].values[1, 2, 3, 4] += 1e-6
        return block, found

    monkeypatch.setattr(FromArcsTask, "make", off)
    with pytest.raises(RealismError, match=r"the null arm is not the reference: arc in 3 rows \(first: row_id \d+\)"):
        prove_null(design, silent)
    assert not list(Path(design.folder).glob("proofs/*null*"))
