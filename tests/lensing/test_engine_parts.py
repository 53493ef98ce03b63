"""The compiled parts, each against the plain formula that it stands for."""

import hashlib
import importlib
import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba.core.dispatcher import Dispatcher
from numpydoc.docscrape import NumpyDocString

from lensflow.lensing import psf
from lensflow.lensing.deflectors import deflect_epl, deflect_shear
from lensflow.lensing.engine import (
    bands,
    kernel_set,
    light,
    matmul,
    pack,
    quadrature,
    records,
    render_rows,
    shoot,
    spreading,
    straight,
)
from lensflow.lensing.rows import read_rows
from lensflow.lensing.sources import sersic_b
from tests.public_docs import names_of

from .rows import scalars, wide_rows


@pytest.mark.parametrize("n", [0.3, 0.5, 1.0, 2.0, 3.3, 4.0, 8.0])
def test_the_profile_in_vector_arithmetic_is_the_profile(n):
    w2 = (10 ** np.random.default_rng(0).uniform(-10, 1, 333)).astype(np.float32)
    weight = np.linspace(0.5, 2, w2.size).astype(np.float32)
    b = float(sersic_b(n))
    expected = weight * np.exp(-b * w2.astype(np.float64) ** (0.5 / n))
    got = w2.copy()
    light.sersic_in_place(got, weight, got.size, n, b)
    bright = expected > 1e-6
    np.testing.assert_allclose(got[bright], expected[bright], rtol=5e-6)
    assert np.abs(got[~bright]).max(initial=0) < 2e-6


def test_the_profile_is_its_centre_at_radius_0_and_dark_at_infinity():
    for n in (0.5, 1.0, 2.5, 4.0):
        w2 = np.array([0.0, 1e30, np.inf], dtype=np.float32)
        light.sersic_in_place(w2, np.ones(3, dtype=np.float32), 3, n, float(sersic_b(n)))
        assert w2[0] == pytest.approx(1.0, abs=1e-3 if n == 2.5 else 1e-6)
        assert (np.abs(w2[1:]) < 1e-30).all()


@pytest.mark.parametrize("power", [-0.3, 0.05, 0.3])
def test_powers_in_vector_arithmetic_are_powers(power):
    r = np.geomspace(1e-4, 1e3, 100).astype(np.float32)
    got = r.copy()
    light.power_in_place(got, r.size, power)
    np.testing.assert_allclose(got, r.astype(np.float64) ** power, rtol=2e-6)


def test_small_matrix_products_are_matrix_products():
    rng = np.random.default_rng(1)
    for rows, inner, columns in ((4, 5, 16), (44, 52, 48), (8, 60, 80), (32, 44, 112), (4, 4, 160)):
        a, b = rng.normal(size=(rows, inner)).astype(np.float32), rng.normal(size=(inner, columns)).astype(np.float32)
        c = np.full((rows, columns), np.nan, dtype=np.float32)
        matmul.matmul(c, a, b, rows, inner, columns)
        np.testing.assert_allclose(c, a.astype(np.float64) @ b, atol=1e-5)
        turned = np.full((rows, columns), np.nan, dtype=np.float32)
        matmul.matmul_transposed(turned, np.ascontiguousarray(a.T), b, rows, inner, columns)
        assert np.array_equal(turned, c)


@given(data=st.data(), half=st.sampled_from([8, 24, 28]), dense=st.booleans())
def test_the_transform_of_the_part_of_a_grid_that_holds_light_is_that_of_the_grid(data, half, dense):
    m, k, period, step = 2 * half, 20, 90.0, 1.1
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    (top, low), (left, right) = (sorted(data.draw(st.tuples(*2 * [st.integers(0, m)]))) for _ in range(2))
    pair = np.zeros((2, 64, 64), np.float32)
    lit = rng.normal(size=(2, low - top, right - left)) * (dense or rng.random((2, low - top, right - left)) < 0.1)
    pair[:, top:low, left:right] = lit
    extent = render_rows._lit(*pair, m, np.empty(64, np.float32))
    y, x = np.nonzero(pair.any(axis=0))
    far = [max((abs(2 * v - m + 1).max(initial=-1) + 1) // 2, 0) for v in (y, x)]
    assert (extent.half, extent.high, extent.wide) == (half, *far)
    spectra = []
    for e in (extent, records.Extent(half, half, half)):
        waves = records.Waves(*(np.full((48, 48), np.nan, np.float32) for _ in range(2)))
        bands.grid_waves(waves, max(e.high, e.wide), k, step, period, spreading.DECONVOLUTION, np.empty((4, 48)))
        products = records.Products(*(np.full(shape, np.nan, np.float32) for shape in ((4, 48, 48), (48, 48))))
        spectra.append(np.zeros((4, 48, 48), np.float32))
        bands.forward(spectra[-1], pair[0], e, k, float(k), waves, products)
    assert np.array_equal(*spectra)
    at = (np.arange(m) - half + 0.5) * step
    j = np.arange(k)
    angle = 2 * np.pi * np.outer(j, at) / period
    divided = np.array([spreading.deconvolution(f * step / period, spreading.DECONVOLUTION) for f in j])[:, None]
    cos, sin = np.cos(angle) * divided, np.sin(angle) * divided
    within = np.hypot(j[:, None], j) < k
    for part, (a, b) in enumerate(((cos, cos), (cos, sin), (sin, cos), (sin, sin))):
        direct = a @ pair[0, :m, :m].astype(np.float64) @ b.T
        np.testing.assert_allclose(spectra[0][part, :k, :k][within], direct[within], atol=3e-4 * divided[-1, 0] ** 2)


def test_a_nan_on_a_grid_counts_as_light():
    pair = np.zeros((2, 64, 64), np.float32)
    pair[1, 3, 20] = np.nan
    assert render_rows._lit(*pair, 56, np.empty(64, np.float32)) == (28, 25, 8)


def test_the_least_and_the_largest_value_of_a_picture_are_found_and_a_nan_is_not_lost():
    rng = np.random.default_rng(7)
    columns = np.empty((3, 70), np.float32)
    for size in (1, 3, 16, 61, 64):
        picture = rng.normal(size=(size, size)).astype(np.float32)
        assert render_rows._range(picture, columns) == (picture.min(), picture.max())
        picture[rng.integers(size), rng.integers(size)] = np.nan
        assert np.isnan(render_rows._range(picture, columns)).all()


def test_the_transform_of_spread_samples_is_the_transform_of_the_samples():
    rng = np.random.default_rng(2)
    n, m = 200, 112
    x, y, value = (rng.uniform(low, high, n).astype(np.float32) for low, high in ((6, 100), (6, 100), (0, 1)))
    grid = np.zeros((m, m), dtype=np.float32)
    spreading.spread(grid.ravel(), m, x, y, value, n, spreading.WEIGHTS)
    axis = np.arange(m)
    for fx, fy in ((0, 0), (0.1, -0.2), (0.3, 0.05), (0.4, 0.0)):
        direct = np.sum(value * np.exp(-2j * np.pi * (fx * x.astype(float) + fy * y.astype(float))))
        spread = np.exp(-2j * np.pi * fy * axis) @ grid @ np.exp(-2j * np.pi * fx * axis)
        spread /= np.prod(spreading.window_transform([abs(fx), abs(fy)]))
        # What leaks in from the aliases grows towards ETA, where the PSF has suppressed it.
        assert abs(spread - direct) < (1e-5 if max(fx, abs(fy)) < 0.35 else 3e-3) * value.sum()


@pytest.mark.parametrize("beta", [2.5, 3.5, 4.765])
def test_the_radial_tables_are_the_transforms(beta):
    for model in psf.MODELS:
        table = pack.psf_table(model, beta)
        x = np.linspace(0, (table.size - 3) / bands.TABLE_STEPS, 1000)
        length = float(psf.scale_length(1.0, model, beta))
        at = np.interp(x * bands.TABLE_STEPS, np.arange(table.size), table)
        np.testing.assert_allclose(at, psf.transform(x / (2 * np.pi * length), 1.0, model, beta), atol=1e-5)


@pytest.mark.parametrize("k", [4, 20, 48])
def test_a_round_psf_at_all_frequencies_is_its_radial_table(k):
    for model in psf.MODELS:
        table = pack.psf_table(model, 3.5)
        scale = 0.9 * (table.size - 3) / bands.TABLE_STEPS / k
        radial = np.full((64, 64), np.nan, np.float32)
        bands.radial_psf(radial, k, scale, table, np.empty((4, 64)))
        j = np.arange(k)
        at = np.hypot(j[:, None], j)
        expected = np.interp(at * scale * bands.TABLE_STEPS, np.arange(table.size), table)
        within = at < k
        np.testing.assert_allclose(radial[:k, :k][within], expected[within], atol=2e-6)


@pytest.mark.parametrize("model", ["SIE", "EPL"])
def test_a_ray_meets_the_source_plane_where_the_deflection_says(model):
    manifest = wide_rows(8, seed=3, model=model)
    rows = read_rows(manifest, 64, 0.262)
    packed = pack.pack(rows, np.full(8, "moffat"), 3.5, 64, 0.262)
    ray = np.zeros(quadrature.RAY)
    for i in range(8):
        row = scalars(manifest, i)
        p = packed.geometry[i]
        gamma = row["lens_gamma"] if model == "EPL" else 2.0
        q = 1.0 if row["lens_model"] == "SIS" else row["lens_q"]
        for angle in (0.3, 2.0, 4.4):
            c, s = np.cos(angle), np.sin(angle)
            quadrature.trace(c, s, p, packed.series[i], ray)
            r = np.array([0.4, 3.0, 9.0])
            x, y = r * c * 0.262, r * s * 0.262
            ax, ay = np.add(
                deflect_epl(x, y, row["theta_e_arcsec"], q, row["lens_phi_rad"], gamma),
                deflect_shear(x, y, row["shear"], row["shear_phi_rad"]),
            )
            bx, by = x - ax - row["src_x_arcsec"], y - ay - row["src_y_arcsec"]
            cp, sp = np.cos(row["src_phi_rad"]), np.sin(row["src_phi_rad"])
            expected = np.array([cp * bx + sp * by, (cp * by - sp * bx) / row["src_q"]]) / row["src_reff_arcsec"]
            bent = r ** p[quadrature.POWER] if model == "EPL" else 1.0
            centre = p[quadrature.SOURCE : quadrature.SOURCE + 2, None] if model == "EPL" else 0.0
            line = np.array([r * ray[0] - bent * ray[2], r * ray[1] - bent * ray[3]]) - centre
            np.testing.assert_allclose(line, expected, atol=1e-6 * np.abs(expected).max())


@given(
    seed=st.integers(0, 10_000),
    turn=st.integers(0, 1),
    index=st.sampled_from([0.5, 1.0, 4.0]),
    leaves=st.integers(1, straight.LEAVES),
    far=st.sampled_from([0.0, 0.5, 20.0]),
)
def test_straight_rays_side_by_side_are_those_traced_and_divided_one_after_another(seed, turn, index, leaves, far):
    manifest = wide_rows(1, seed=seed, index=index)
    manifest["src_x_arcsec"] = manifest["src_x_arcsec"] + far
    packed = pack.pack(read_rows(manifest, 64, 0.262), np.full(1, "moffat"), 3.5, 64, 0.262)
    p, series, settings = packed.geometry[0], packed.series[0], packed.settings[0, turn]
    space, n = straight.straight_space(), 4 * leaves
    angle = np.random.default_rng(seed).uniform(0, 2 * np.pi, n)
    angle[0] = 0.0
    space.rays[straight.DIRECTION_X, :n], space.rays[straight.DIRECTION_Y, :n] = np.cos(angle), np.sin(angle)
    straight.trace_rays(space.rays, n, p, series, space.work)
    straight.divide_rays(n, p, settings, space)
    ray, edges = np.zeros(quadrature.RAY), np.empty((quadrature.MAX_PANELS, 2))
    for j in range(n):
        c, s = space.rays[straight.DIRECTION_X : straight.DIRECTION_Y + 1, j]
        quadrature.trace(c, s, p, series, ray)
        lines = space.rays[: quadrature.RS + 1, j]
        np.testing.assert_allclose(lines, ray[: quadrature.RS + 1], rtol=1e-11, atol=1e-11 * np.abs(ray).max())
        count, beyond = quadrature.ray_panels(c, s, p, ray, settings, edges)
        found = []
        for side, sign in ((0, 1), (1, -1)):
            ends = space.ends[: int(space.sides[3, j + side * n]) + 1, j + side * n]
            found += [(ray[quadrature.R0] + sign * e).tolist() for e in np.stack([ends[:-1], ends[1:]], axis=1)]
        assert len(found) == count
        np.testing.assert_allclose(np.reshape(found, (-1, 2)), edges[:count], rtol=1e-9, atol=1e-9)
        assert space.rays[straight.BEYOND, j] == pytest.approx(beyond, rel=1e-12)


def test_samples_of_a_panel_of_angle_are_the_nodes_of_its_rays_panels():
    manifest = wide_rows(4, seed=8)
    packed = pack.pack(read_rows(manifest, 64, 0.262), np.full(4, "moffat"), 3.5, 64, 0.262)
    space, samples = straight.straight_space(), np.empty((8, quadrature.MAX_SAMPLES), np.float32)
    nodes, rng, seen = quadrature.NODES, np.random.default_rng(3), 0
    for i in range(4):
        p, series, settings = packed.geometry[i], packed.series[i], packed.settings[i, 0]
        angle = rng.uniform(0, 2 * np.pi, 8)
        space.rays[straight.DIRECTION_X, :8], space.rays[straight.DIRECTION_Y, :8] = np.cos(angle), np.sin(angle)
        straight.trace_rays(space.rays, 8, p, series, space.work)
        straight.divide_rays(8, p, settings, space)
        grid = records.Grid(np.zeros(0, np.float32), 0, 0.9, -40.0, -41.0)
        for leaf in range(2):
            n = straight.leaf_samples(leaf, 8, 0.1, grid, nodes, space, samples)
            expected, ray, edges = [], np.zeros(quadrature.RAY), np.empty((quadrature.MAX_PANELS, 2))
            for k in range(4):
                c, s = np.cos(angle[4 * leaf + k]), np.sin(angle[4 * leaf + k])
                quadrature.trace(c, s, p, series, ray)
                for panel in edges[: quadrature.ray_panels(c, s, p, ray, settings, edges)[0]]:
                    half = 0.5 * abs(panel[1] - panel[0])
                    r = panel.mean() + 0.5 * (panel[1] - panel[0]) * nodes[0]
                    line = [r * ray[0] - ray[2], r * ray[1] - ray[3]]
                    area = 0.05 * nodes[1, k] * half * nodes[1] * r
                    expected.append([line[0] ** 2 + line[1] ** 2, area, (r * c + 40) / 0.9, (r * s + 41) / 0.9])
            assert n == 4 * len(expected)
            seen += n
            for name, row in zip((0, 1, 2, 3), np.array(expected).reshape(-1, 4, 4).transpose(1, 0, 2), strict=True):
                np.testing.assert_allclose(samples[name, :n], row.ravel(), rtol=1e-5, atol=1e-6)
    assert seen > 100


MODULES = (bands, kernel_set, light, matmul, pack, quadrature, render_rows, shoot, spreading, straight)


def test_no_compiled_function_of_the_engine_takes_more_than_eight_arguments():
    compiled = {
        f"{module.__name__}.{name}": len(inspect.signature(thing.py_func).parameters)
        for module in MODULES
        for name, thing in vars(module).items()
        if isinstance(thing, Dispatcher)
    }
    assert "lensflow.lensing.engine.render_rows.render_rows" in compiled
    assert {name: n for name, n in compiled.items() if n > 8} == {}


def test_every_field_of_a_record_is_documented_with_its_shape_and_a_meaning():
    found = [thing for thing in vars(records).values() if isinstance(thing, type) and issubclass(thing, tuple)]
    assert records.Packed in found
    for record in found:
        section = NumpyDocString(inspect.getdoc(record))["Attributes"]
        assert names_of(section) == [*record._fields], record
        assert all(part.desc for part in section), record
        assert all("shape" in part.type or "flat" in part.type for part in section if "ndarray" in part.type), record


def test_the_readme_names_every_module_and_tests_that_exist():
    folder = Path(records.__file__).parent
    text = (folder / "README.md").read_text()
    named = set(re.findall(r"^\| `(\w+\.py)` \|", text, re.MULTILINE))
    assert named == {path.name for path in folder.glob("*.py")} - {"__init__.py"}
    root = Path(__file__).parents[2]
    tests = {*re.findall(r"`(tests/[\w/]+\.py)`", text)}
    tests |= {f"tests/lensing/{name}" for name in re.findall(r"`(test_\w+\.py)`", text)}
    assert len(tests) >= 8 and all((root / name).is_file() for name in tests)
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links and all((folder / link).is_file() for link in links)


@pytest.mark.slow
def test_the_readme_s_figure_is_of_what_the_renderer_renders():
    path = Path(__file__).parents[2] / "docs" / "figures" / "engine.py"
    spec = importlib.util.spec_from_file_location("engine_figure", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert len(script.figure().axes) >= 6  # compares its own image with the renderer's


def test_the_compiled_code_on_disk_is_tied_to_every_source_file_of_the_package():
    from lensflow import jit

    stamp = render_rows.render_rows._cache._cache_file._source_stamp
    assert stamp == jit.sources_stamp(Path(render_rows.__file__).parent)
    assert len(stamp) == len(hashlib.sha256().hexdigest())


def test_code_of_another_folder_is_compiled_anew_when_the_renderer_changes(tmp_path, monkeypatch):
    from lensflow import jit

    below, own = tmp_path / "lensing", tmp_path / "injection"
    for folder in (below, own):
        folder.mkdir()
        (folder / "kernels.py").write_text("a = 1\n")
    monkeypatch.setattr(jit, "_BELOW", (below,))
    stamps = []
    for changed in (None, own, below):
        if changed:
            (changed / "kernels.py").write_text("a = 2\n")
        jit.sources_stamp.cache_clear()
        stamps.append(jit.sources_stamp(own))
    jit.sources_stamp.cache_clear()
    assert len(set(stamps)) == 3


def test_compiled_code_on_disk_whose_record_has_another_name_now_is_compiled_again(tmp_path, monkeypatch):
    from lensflow import jit

    monkeypatch.syspath_prepend(str(tmp_path))
    for name, factor in (("Old", 2), ("Renamed", 30)):
        for module in ("kernel_of_a_test", "records_of_a_test"):
            sys.modules.pop(module, None)
        (tmp_path / "records_of_a_test.py").write_text(
            f"from typing import NamedTuple\n\n\nclass {name}(NamedTuple):\n    x: float\n"
        )
        (tmp_path / "kernel_of_a_test.py").write_text(
            f"from lensflow.jit import compiled\n\n\n@compiled()\ndef scaled(record):\n    return {factor} * record.x\n"
        )
        importlib.invalidate_caches()
        jit.sources_stamp.cache_clear()
        record = getattr(importlib.import_module("records_of_a_test"), name)(1.5)
        assert importlib.import_module("kernel_of_a_test").scaled(record) == factor * 1.5
    jit.sources_stamp.cache_clear()


@pytest.mark.slow
def test_a_read_only_installation_without_any_cache_folder_still_imports(tmp_path):
    # numba refuses to cache when no folder can be written; compiling for the process alone must do then.
    script = (
        "import numba.core.caching as c\n"
        "c.CacheImpl._locator_classes = []\n"
        "c.CompileResultCacheImpl._locator_classes = []\n"
        "import numpy as np\n"
        "from lensflow.lensing.engine.matmul import matmul\n"
        "a = np.ones((4, 16), dtype=np.float32)\n"
        "matmul(a.copy(), a, np.ones((16, 16), dtype=np.float32), 4, 16, 16)\n"
        "print('fine')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip().endswith("fine"), done.stderr[-2000:]
