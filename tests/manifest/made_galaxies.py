"""A made table of galaxies whose magnitude, colour, size and redshift hang together."""

import numpy as np
from astropy.table import Table

N = 4000


def made_galaxies(n=N, seed=0):
    """Columns of ``n`` galaxies: fainter ones are bluer, smaller and farther."""
    draw = np.random.default_rng(seed)
    r = 21.5 + 4 * draw.beta(3, 1.5, n)
    blue = draw.normal(size=n)
    z = np.clip(0.25 * (r - 20.5) + 0.25 * np.abs(draw.normal(size=n)) + 0.1, 0.12, 4.0)
    g_r = 0.9 - 0.18 * (r - 21.5) - 0.25 * blue
    r_z = 0.8 - 0.12 * (r - 21.5) - 0.20 * blue + 0.05 * draw.normal(size=n)
    size = 10 ** (-0.1 * (r - 21.5) - 0.35 + 0.12 * draw.normal(size=n) + 0.05 * blue)
    return {
        "id": np.array([f"G{k:05d}" for k in range(n)]),
        "mag_u": r + g_r + 0.4 - 0.2 * blue,
        "mag_g": r + g_r,
        "mag_r": r,
        "mag_z": r - r_z,
        "mag_Y": r - r_z - 0.05,
        "reff_arcsec": size,
        "z": z,
    }


def write_galaxies(path, columns=None, **changes):
    """Write a table, some columns changed (None: left out); returns its path as text."""
    columns = {**(made_galaxies() if columns is None else columns), **changes}
    Table({k: v for k, v in columns.items() if v is not None}).write(path, overwrite=True)
    return str(path)
