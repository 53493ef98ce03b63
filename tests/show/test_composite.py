"""Colours: one stretch for every run, one colour for one band, one table for all verdicts."""

import io
import pickle
import re
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import xarray as xr

import lensflow
from lensflow.errors import LensflowError
from lensflow.export.check.results import CheckVerdict
from lensflow.measure.gate import Verdict
from lensflow.show.composite import composite, rgb
from lensflow.show.figures import BAND_COLOURS, DPI, Picture, _svg_file, label, new_figure, picture
from lensflow.show.table import STYLES
from lensflow.show.verdict_style import VERDICT_STYLES, css_class, stylesheet

GRZ = ("g", "r", "z")


def test_the_same_light_has_the_same_colour_whatever_lies_beside_it():
    faint, bright = np.zeros((3, 8, 8)), np.zeros((3, 8, 8))
    faint[:, 2, 2] = bright[:, 2, 2] = 0.05, 0.1, 0.2
    bright[:, 6, 6] = 50.0
    np.testing.assert_array_equal(composite(faint, GRZ)[2, 2], composite(bright, GRZ)[2, 2])


def test_the_stretch_is_that_of_the_legacy_surveys_viewer():
    """Their ``sdss_rgb`` with its factors for g, r, z, m = 0.03 and Q = 20, written out."""
    image = np.random.default_rng(1).normal(0.02, 0.05, (3, 5, 5))
    scaled = [np.maximum(0, band * scale + 0.03) for band, scale in zip(image, (6.0, 3.4, 2.2), strict=True)]
    mean = sum(scaled) / 3
    factor = np.arcsinh(20 * mean) / np.sqrt(20) / (mean + (mean == 0) * 1e-6)
    wanted = np.stack([np.clip(b * factor, 0, 1) for b in scaled[::-1]], axis=-1)
    np.testing.assert_allclose(composite(image, GRZ) / 255, wanted, atol=0.51 / 255)


def test_equal_surface_brightness_has_equal_colours_in_pixels_of_any_size():
    image = np.full((3, 2, 2), 0.1)
    np.testing.assert_array_equal(composite(image, GRZ), composite(image * 4, GRZ, (), 2 * 0.262))


def test_pixels_without_a_value_are_dark_and_no_error():
    image = np.full((3, 2, 2), np.nan)
    assert (composite(image, GRZ) == composite(np.zeros((3, 2, 2)), GRZ)).all()


def test_rgb_takes_the_bands_of_a_dataarray_in_any_order_of_dims_and_leaves_out_empty_ones():
    values = np.zeros((3, 4, 4), dtype=np.float32)
    values[0], values[2, 1, 2] = np.nan, 0.3
    image = xr.DataArray(values, dims=("band", "y", "x"), coords={"band": list(GRZ)})
    found = rgb(image)
    assert found.shape == (4, 4, 3) and found.dtype == np.uint8
    np.testing.assert_array_equal(found, rgb(image.transpose("y", "x", "band")))
    np.testing.assert_array_equal(found, rgb(values, GRZ))
    assert found[1, 2, 0] > found[1, 2, 1] > found[1, 2, 2]


@pytest.mark.parametrize("wrong", [{"image": np.zeros((3, 4, 4))}, {"image": np.zeros((2, 4, 4)), "bands": GRZ},
                                   {"image": np.zeros((4, 4)), "bands": GRZ}])  # fmt: skip
def test_rgb_refuses_an_image_whose_bands_are_not_known(wrong):
    with pytest.raises(LensflowError, match=r"lf\.rgb"):
        rgb(**wrong)


def lightness(colour):
    return np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255


def test_no_two_bands_have_colours_that_look_alike():
    names = list(BAND_COLOURS)
    for k, a in enumerate(names):
        for b in names[:k]:
            apart = np.linalg.norm(lightness(BAND_COLOURS[a]) - lightness(BAND_COLOURS[b]))
            assert apart > 0.3, (a, b)


def test_every_verdict_has_one_look_and_only_what_the_arcs_explain_is_amber():
    assert set(VERDICT_STYLES) == {str(v) for v in (*Verdict, *CheckVerdict)}
    assert all(s.cell in STYLES for s in VERDICT_STYLES.values())
    amber = [k for k, s in VERDICT_STYLES.items() if s.colour == VERDICT_STYLES["EXPLAINED"].colour]
    red = [k for k, s in VERDICT_STYLES.items() if s.colour == VERDICT_STYLES["FAIL"].colour]
    assert amber == ["EXPLAINED"] and red == ["FAIL"]
    signs = [VERDICT_STYLES[k].sign for k in ("PASS", "EXPLAINED", "FAIL", "ERROR", "INCONCLUSIVE", "NOT_TESTABLE")]
    assert len(set(signs)) == len(signs)
    assert all(f".{css_class(k)} {{ --verdict: {s.colour}" in stylesheet() for k, s in VERDICT_STYLES.items())


def test_colours_of_verdicts_are_written_in_one_file_alone():
    own = {s.colour for s in VERDICT_STYLES.values()} | {s.dark for s in VERDICT_STYLES.values()}
    root = Path(lensflow.__file__).parent
    files = [p for p in root.rglob("*") if p.suffix in (".py", ".j2", ".css", ".html")]
    # A page's red of words, and its green, are of the same paint.
    shared = root / "show/templates/style.css.j2"
    found = {p.name for p in files if p != shared and own & set(re.findall(r"#[0-9a-f]{6}", p.read_text()))}
    assert found == {"verdict_style.py"}


def drawn(name="a", words="θ < 1″ & so on"):
    figure, (axes,) = new_figure(2.0)
    axes.plot([0, 1], [1, 0], "o")
    label(axes, words, "<b>hostile</b>")
    return picture(figure, name, 'what "it" shows', "")


def test_a_figure_is_an_element_without_background_or_rules_for_the_page_and_its_ids_are_its_own():
    one, other = drawn().svg, drawn("b").svg
    assert one.startswith('<svg class="drawn"') and one.endswith("</svg>")
    assert "<style" not in one and "<?xml" not in one
    assert 'aria-label="what &quot;it&quot; shows"' in one and "&lt;b&gt;hostile" in one and "<b>" not in one
    assert "θ &lt; 1″ &amp; so on" in one  # words are words: they can be searched and copied
    assert not re.search(r"fill: *(white|#ffffff)", one)
    ids = [set(re.findall(r' id="([^"]+)"', text)) for text in (one, other)]
    assert ids[0] and not ids[0] & ids[1]
    used = set(re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', one))
    assert used <= ids[0]
    assert drawn().svg == one and drawn().png.startswith(b"\x89PNG")


def test_a_figure_is_drawn_once_and_is_what_matplotlib_saves(monkeypatch):
    """Its savefig draws twice where the layout follows the words: the first time for the layout alone."""
    made = [drawn()._figure for _ in range(2)]
    for figure in made:
        figure.colorbar(figure.axes[0].imshow([[0, 1]]), ax=figure.axes[0])
    background = [a.patch.get_facecolor() for a in made[0].axes]
    saved, no_date = io.BytesIO(), dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({"svg.hashsalt": "a"}):
        made[1].savefig(saved, format="svg", metadata=no_date, transparent=True)
        times, draw = [], type(made[0]).draw
        monkeypatch.setattr(type(made[0]), "draw", lambda *of: (times.append(1), draw(*of)))
        assert _svg_file(made[0]) == saved.getvalue().decode()
    assert len(times) == 1
    assert [a.patch.get_facecolor() for a in made[0].axes] == background and made[0].dpi == DPI


def test_a_figure_of_another_process_is_the_svg_that_it_drew():
    made = drawn()
    copy = pickle.loads(pickle.dumps(made))
    assert copy._figure is None and made._figure is not None
    assert copy.is_drawn and (copy.svg, copy.file, copy.html) == (made.svg, made.file, made.html)
    with pytest.raises(LensflowError, match="another process drew"):
        _ = copy.png
    pixels = Picture("b", b"\x89PNG")
    assert pickle.loads(pickle.dumps(pixels)).png == pixels.png


def test_pixels_are_an_image_with_words_for_those_who_do_not_see_it():
    html = str(Picture("a", b"\x89PNG", 'a "b" <c>').html)
    assert html == '<img src="data:image/png;base64,iVBORw==" alt="a &#34;b&#34; &lt;c&gt;">'
