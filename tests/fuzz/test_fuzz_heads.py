"""Mutated heads of FITS files, astropy as the judge: pixels and positions equal its own, or the file is refused."""

from io import BytesIO

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from lensflow.survey.bricks import UnreadableFile, open_brick
from lensflow.survey.layout import Layout
from tests.survey.brick_factory import brick_wcs

LAYOUT = "{root}/{brick}-{product}-{band}.fits"
SIZE = 40
CARDS = [
    "BSCALE  = 2.0", "BZERO   = 32768", "BZERO   = 0.5", "BLANK   = 3", "ZBLANK  = 3", "NAXIS   = 3", "NAXIS3  = 1",
    "NAXIS1  = 39", "NAXIS2  = 20", "NAXIS1  = 4e1", "NAXIS1  = 1000000000", "BITPIX  = 16", "BITPIX  = 8",
    "ZQUANTIZ= 'NONE'", "ZDITHER0= 7", "ZQUANTIZ= 'SUBTRACTIVE_DITHER_1'", "ZTILE1  = 20", "ZTILE2  = 10",
    "ZCMPTYPE= 'GZIP_1'", "ZCMPTYPE= 'eval(1)'", "ZNAXIS2 = 20", "ZBITPIX = -64", "ZBITPIX = 16", "ZVAL1   = 16",
    "ZVAL2   = 2", "ZNAME1  = 'blocksize'", "TFORM1  = '1.5PB'", "TFORM2  = '1E'", "TTYPE2  = 'ZSCALES'",
    "TSCAL2  = 2.0", "TZERO2  = 1.0", "TNULL1  = 3", "THEAP   = 900", "PCOUNT  = 12", "GCOUNT  = 2", "GROUPS  = T",
    "TFIELDS = 999999999", "CTYPE1  = 'RA---SIN'", "CTYPE1  = 'GLON-TAN'", "CTYPE1  = 'RA---TNX'", "CROTA2  = 30.",
    "CRVAL1  = 1.0E1", "CRVAL1  = 1.0d1", "CRVAL1  = '10.0'", "CRVAL2  = 95.", "CRPIX1  = 1e3", "CRPIX1  = 1_0",
    "CDELT1  = 0", "CDELT1  = -7.0e-5", "CD1_1   = -1e-4", "PC1_2   = 0.9", "PC2_1   = -.1", "PC001001= 0.5",
    "LONPOLE = 90", "LATPOLE = 1e9", "RADESYS = 'FK4'", "EQUINOX = 1950.", "EQUINOX = 'J2000'", "CUNIT1  = 'arcsec'",
    "CUNIT1  = 'exec(1)'", "PV1_1   = 1.1", "A_ORDER = 999999", "A_ORDER = 2", "A_2_0   = 1e-4", "D2IM1   = 'Lookup'",
    "CPDIS1  = 'Lookup'", "DP1     = 'EXTVER: 1.0'", "WCSAXES = 3", "WCSAXES = 999", "HIERARCH CRVAL1 = 11.0",
    "HIERARCH BSCALE = 3.0", "CONTINUE  'x'", "crval1  = 12.0", "INHERIT = T", "CRVAL1  \t= 12.0",
    "CTYPE1  = 'RA---TAN&'", "EXTNAME = 'DQ'", "EXTNAME = 'SCI'", "XTENSION= 'TABLE'", "ZIMAGE  = F", "END", "",
    "COMMENT \x01\xff", "BSCALE  = 2.0 3.0", "CRVAL1  =", "CRVAL1  = NaN", "CRVAL1  = 1E400", "SIMPLE  = F",
    "EXTEND  = F",
]  # fmt: skip


def files():
    rng = np.random.default_rng(0)
    image, sky = rng.normal(0, 0.004, (SIZE, SIZE)).astype(np.float32), brick_wcs(size=SIZE).to_header()
    ints = rng.integers(0, 9, (SIZE, SIZE))
    how = {"tile_shape": (20, 20)}
    hdus = [
        fits.ImageHDU(image, sky),
        fits.ImageHDU(ints.astype(np.int16), sky),
        fits.CompImageHDU(image, sky, quantize_method=2, dither_seed=5, **how),
        fits.CompImageHDU(ints.astype(np.int32), sky, **how),
        fits.CompImageHDU(image, sky, compression_type="GZIP_2", quantize_level=0, **how),
    ]
    out = []
    for hdu in hdus:
        buffer = BytesIO()
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(buffer)
        out.append(buffer.getvalue())
    return out


def mutated(content, rng):
    """A file with a few cards replaced, added or given twice, and bytes of its header changed."""
    start = 2880
    end = next(at for at in range(start, len(content), 80) if content[at : at + 80].rstrip() == b"END")
    cards = [content[at : at + 80] for at in range(start, end, 80)]
    for _ in range(rng.integers(1, 4)):
        new = CARDS[rng.integers(len(CARDS))].encode("latin-1").ljust(80)
        same = [k for k, card in enumerate(cards) if card[:8] == new[:8]]
        if same and rng.random() < 0.7:
            cards[same[0]] = new
        else:
            cards.insert(int(rng.integers(1, len(cards) + 1)), new)
    if rng.random() < 0.3:
        k, at = int(rng.integers(len(cards))), int(rng.integers(80))
        cards[k] = cards[k][:at] + bytes([rng.integers(256)]) + cards[k][at + 1 :]
    head = b"".join(cards) + b"END".ljust(80)
    data = content[-(-(end + 80) // 2880) * 2880 :]
    return content[:2880] + head + b" " * (-len(head) % 2880) + data


def judged(content, found, start, grid):
    """Whether astropy gives the same pixels and the same positions, by its own reading of the whole file."""
    with fits.open(BytesIO(content)) as hdus:
        hdu = next(h for h in hdus if h.fileinfo()["hdrLoc"] == start)
        truth = np.asarray(hdu.data, dtype=float).reshape(hdu.data.shape[-2:])
        np.testing.assert_array_equal(found[: truth.shape[0], : truth.shape[1]], truth)
        try:
            wcs = WCS(hdu.header, fobj=hdus)
        except (fits.VerifyError, ValueError):  # it checks cards too that no WCS is made of
            return
    x, y = np.array([0.0, 10.0, 30.0]), np.array([0.0, 33.0, 5.0])
    sky = wcs.pixel_to_world(x, y, *[np.zeros(3)] * (wcs.pixel_n_dim - 2))
    sky = next(s for s in sky if isinstance(s, SkyCoord)) if isinstance(sky, list) else sky
    assert SkyCoord(*grid.to_sky(x, y), unit="deg").separation(sky.icrs).arcsec.max() < 1e-3


@pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("cases", [100, pytest.param(6000, marks=pytest.mark.slow)])
def test_a_mutated_head_gives_astropys_pixels_and_positions_or_is_refused(cases, tmp_path):
    whole, read = files(), 0
    path = tmp_path / "b-image-r.fits"
    for seed in range(cases):
        rng = np.random.default_rng(seed)
        content = mutated(whole[seed % len(whole)], rng)
        path.write_bytes(content)
        with open_brick(Layout(str(tmp_path), LAYOUT), "b", "r") as brick:
            if brick.wcs is None:
                assert isinstance(brick.problem("image", "r"), UnreadableFile), seed
                continue
            start = brick.file("image", "r").header.start
            found, errors = brick.windows("image", "r", np.zeros((1, 2), np.int64), SIZE, 0)
            if errors[0] is None:
                judged(content, found[0].astype(float), start, brick.wcs)
                read += 1
    assert cases // 10 < read < cases
