"""A small run without files: galaxies with neighbours on correlated sky, and their pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import rng, schema
from lensflow.config import InjectionConfig, RunConfig
from lensflow.injection import inject_block
from lensflow.lensing.render import Rendering, render
from lensflow.manifest.build import build_manifest
from lensflow.measure.pixels.origin import Origin
from lensflow.survey.photometry import with_measurements
from lensflow.survey.stamps import stamps_from_cubes
from lensflow.survey.synthetic.sky import unit_noise

PIXEL_ARCSEC = 0.262
PSFSIZE_ARCSEC = {"g": 1.5, "r": 1.35, "z": 1.25}
SKY_SIGMA = {"g": 0.003, "r": 0.004, "z": 0.009}


@dataclass(frozen=True, eq=False)
class SmallRun:
    """Hosts, a manifest and the settings that make pairs of them."""

    hosts: xr.Dataset
    manifest: xr.Dataset
    config: RunConfig

    @property
    def injection(self) -> InjectionConfig:
        """Settings of the injection."""
        return self.config.injection

    @property
    def origin(self) -> Origin:
        """Inputs of its pairs."""
        return Origin(self.hosts, self.injection, self.config.store)

    def pairs(self, renderer: Callable[..., Rendering] = render, manifest: xr.Dataset | None = None) -> xr.Dataset:
        """Pairs with the manifest's columns and ``ctrl``, made with ``renderer``."""
        rows = self.manifest if manifest is None else manifest
        block = inject_block(self.hosts, rows, self.injection, renderer=renderer)
        ctrl, invvar = (self.hosts[k].values[rows["host_index"].values] for k in ("image", "invvar"))
        return rows.assign({v: block[v] for v in block.data_vars}).assign(
            ctrl=(schema.CTRL.dims, ctrl), has_data=(schema.HAS_DATA.dims, invvar > 0)
        ).assign_attrs(pixel_scale_arcsec=block.attrs["pixel_scale_arcsec"])  # fmt: skip

    def lazy(self, chunk: int) -> xr.Dataset:
        """The same pairs as Dask arrays, ``chunk`` rows in each."""
        return self.pairs().chunk({"sample": chunk})


def settings(per_host: int = 4, seed: int = 5) -> RunConfig:
    """Config of a small run."""
    return RunConfig.model_validate(
        {
            "out": "-",
            "seed": seed,
            "survey": {"root": "-", "targets": "-"},
            "plan": {
                "preset": "historic",
                "injections_per_host": per_host,
                "src_reff_arcsec": [0.15, 0.2, 0.3],
                "dmag": [0.0, 0.5, 1.0],
            },
        }
    )


def small_run(
    hosts: int = 40,
    per_host: int = 4,
    seed: int = 5,
    config: RunConfig | None = None,
    light: tuple[float, float] = (0.3, 1.2),
    survey_sky: bool = False,
    neighbours: int = 4,
) -> SmallRun:
    """Galaxies with neighbours on correlated sky, every sixth without data in g, and a random manifest for them.

    Parameters
    ----------
    hosts, per_host, seed : int
    config : RunConfig, optional
        In place of :func:`settings`.
    light : (low, high)
        Range of the galaxies' central brightness in r, nMgy/pixel; neighbours have up to 0.4 of the highest.
    survey_sky : bool
        Sky noise whose neighbouring pixels correlate as those of real coadds do; else smooth noise, which has nothing
        at the highest frequencies.
    neighbours : int
        Other galaxies on each stamp.
    """
    config = config or settings(per_host, seed)
    draw = rng.generator(seed, "zoo.hosts")
    images = galaxies(hosts, draw, light=light, survey_sky=survey_sky, neighbours=neighbours)
    images["g"][::6] = np.nan
    names = np.array([f"zoo-{i:04d}" for i in range(hosts)])
    out = stamps_from_cubes(images, names, PSFSIZE_ARCSEC, None, None, config.survey)
    out = with_measurements(out.assign_attrs(pixel_scale_arcsec=PIXEL_ARCSEC))
    for name in ("flux_nmgy", "sigma_v_km_s", "z_lens"):
        v = schema.variable("cutouts", name)
        shape = (hosts, len(images)) if "band" in v.dims else (hosts,)
        out = out.assign({name: (v.dims, np.full(shape, np.nan, v.dtype), v.attrs)})
    out["psfsize_arcsec"] = out["psfsize_arcsec"] * draw.uniform(0.9, 1.2, (hosts, 1)).astype("f4")
    split = np.sort(np.arange(hosts) % 3).astype(np.uint8)
    out = out.assign(cell=("host", np.arange(hosts)), split=("host", split))
    return SmallRun(out, build_manifest(out, config), config)


def galaxies(
    n: int,
    draw: np.random.Generator,
    size: int = 72,
    light: tuple[float, float] = (0.3, 1.2),
    survey_sky: bool = False,
    neighbours: int = 4,
) -> dict[str, NDArray[np.float32]]:
    """Draw galaxies with their neighbours, by band: shape (n, size, size), nMgy/pixel."""
    x = np.arange(size) - (size - 1) / 2
    r = np.hypot(x[:, None], x)
    near = np.exp(-0.5 * (np.hypot(np.fft.fftfreq(size, 1 / size)[:, None], np.fft.fftfreq(size, 1 / size)) / 1.2) ** 2)
    smooth = np.fft.rfft2(near / np.sqrt((near**2).sum()))
    bright, slope = draw.uniform(*light, n), draw.uniform(3.0, 5.0, n)
    place, near_light = (
        draw.uniform(-28, 28, (n, neighbours, 2)),
        draw.uniform(0.1, 0.5, (n, neighbours)) * (light[1] / 1.2),
    )
    # A neighbour in the core would be part of the galaxy.
    place[np.hypot(*np.moveaxis(place, -1, 0)) < 10] += 14
    out = {}
    for k, (band, sky) in enumerate(SKY_SIGMA.items()):
        scene = bright[:, None, None] * np.exp(-r / slope[:, None, None])
        for j in range(neighbours):
            away = np.hypot(x[:, None] - place[:, j, 1, None, None], x - place[:, j, 0, None, None])
            scene = scene + near_light[:, j, None, None] * np.exp(-0.5 * (away / 2.2) ** 2)
        if survey_sky:
            noise = np.stack([unit_noise(draw, size) for _ in range(n)]).astype(np.float64)
        else:
            noise = np.fft.irfft2(np.fft.rfft2(draw.normal(size=(n, size, size))) * smooth, s=(size, size))
        out[band] = ((0.4, 1.0, 1.7)[k] * scene + sky * noise).astype(np.float32)
    return out
