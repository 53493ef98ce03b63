"""What the compiled functions take and hand on: arrays and numbers with names, one record for each idea.

They are plain tuples to the compiler: a field costs what an argument costs. (Each time that a field is read which is an
array, the array is counted as in use; loops over panels read from local names.) Unless a field says otherwise, lengths
are in pixels, positions relative to the lens, and frequencies counted in units of 1/period. Light is float32, geometry
float64.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int64]


class Parts(NamedTuple):
    """The components of the rows whose source has several; those of one row are together, sorted by kind.

    Attributes
    ----------
    first : ndarray of int64, shape (row + 1,)
        Where each row's begin; a row with one profile has none here.
    kind : ndarray of int64, shape (KINDS row + 1,)
        Where each kind's begin, row after row.
    geometry : ndarray of float64, shape (part, PARAMETERS)
        As in :class:`Packed`: the row's lens, and the component's own map and radii.
    profile : ndarray of float64, shape (part, 4)
        Index, b_n, central brightness (pixel^-2) for a kind's unit flux, and how much longer its panels are.
    share : ndarray of float64, shape (row, KINDS, band)
        Each kind's share of the row's flux.
    """

    first: Ints
    kind: Ints
    geometry: Floats
    profile: Floats
    share: Floats


class Packed(NamedTuple):
    """Rows ready to render; the first axis of every array counts them.

    Attributes
    ----------
    row : ndarray of int64, shape (row,)
        Where each stands in the call.
    geometry : ndarray of float64, shape (row, PARAMETERS)
        Lens, map to the source plane and field: indices ``COS`` to ``GRAIN`` of
        :mod:`lensflow.lensing.engine.quadrature`.
    series : ndarray of float64, shape (row, term)
        Factors of the lens's series, of which ``geometry[TERMS]`` are used.
    settings : ndarray of float64, shape (row, 2, setting)
        How finely each of the two renderings samples: indices ``FIRST`` to ``TURN`` there.
    scalars : ndarray of float64, shape (row, 7)
        Index, b_n, central brightness (pixel^-2, unit flux), period, grid step, and the first grid point's x and y.
    band_scale : ndarray of float64, shape (row, band)
        Argument of the radial PSF table per unit of frequency.
    frequencies : ndarray of int64, shape (row, band)
        How many frequencies each band needs, a multiple of 4; 0 for an absent band.
    disc : ndarray of float64, shape (row, band)
        Within how many (of any direction) they are.
    sharpest : ndarray of int64, shape (row,)
        The band that shows errors most.
    entry : ndarray of int64, shape (row, band)
        Which of the kernels; -1 for an analytic PSF.
    image : ndarray of int64, shape (row,)
        Which of the images; -1 for a Sersic source.
    grid_size : ndarray of int64, shape (row,)
        Points on a side of the light's grid, a multiple of 8.
    table : ndarray of int64, shape (row,)
        Which of the PSF tables.
    leak : ndarray of float64, shape (row, 2)
        The PSF, per pixel of the sharpest band, at the margin's width and at the way round the period.
    flux : ndarray of float64, shape (row, band)
        Unlensed flux, nMgy.
    parts : Parts
        Components of the rows whose source has several.
    """

    row: Ints
    geometry: Floats
    series: Floats
    settings: Floats
    scalars: Floats
    band_scale: Floats
    frequencies: Ints
    disc: Floats
    sharpest: Ints
    entry: Ints
    image: Ints
    grid_size: Ints
    table: Ints
    leak: Floats
    flux: Floats
    parts: Parts


class Psfs(NamedTuple):
    """The PSFs of a call: radial tables of the analytic ones, and measured kernels.

    Attributes
    ----------
    tables : ndarray of float32, shape (model, n)
        Transform against 2 pi (scale length) (frequency), ``bands.TABLE_STEPS`` to the unit, padded with zeros.
    table_sizes : ndarray of int64, shape (model,)
        How much of each is used.
    kernel_size : ndarray of int64, shape (kernel,)
        Pixels on a side. Without kernels, all of these are empty.
    kernel_fold : ndarray of float32, shape (kernel, 4, h, h)
        Each kernel folded about its middle into the parts even and odd along y and x.
    kernel_cut : ndarray of float64, shape (kernel,)
        Highest frequency used, cycles per pixel.
    kernel_neglected : ndarray of float64, shape (kernel,)
        What is beyond it, over the kernel's peak.
    kernel_unseen : ndarray of float64, shape (kernel,)
        What is beyond 0.5 cycles per pixel over what is in the ring inside of it.
    """

    tables: Singles
    table_sizes: Ints
    kernel_size: Ints
    kernel_fold: Singles
    kernel_cut: Floats
    kernel_neglected: Floats
    kernel_unseen: Floats


class Pictures(NamedTuple):
    """The images that are sources; all arrays are empty where every source is a Sersic.

    Attributes
    ----------
    pixels : ndarray of float32, flat
        Light of all levels of all images, one after the other; in units of the flux per squared half-light radius.
    frame : ndarray of int64, shape (level of any image, 3)
        Where each level begins in ``pixels``, its rows and its columns.
    levels : ndarray of int64, shape (image + 1,)
        Where each image's levels begin in ``frame``.
    place : ndarray of float64, shape (image, 3)
        x and y of the centroid and the half-light radius, in the image's pixels.
    """

    pixels: Singles
    frame: Ints
    levels: Ints
    place: Floats


class Constants(NamedTuple):
    """Tables that are the same for every row; handed in, so that the compiler cannot fold them into the code.

    Attributes
    ----------
    nodes : ndarray of float64, shape (2, 4)
        ``quadrature.NODES``.
    turns : ndarray of float64, shape (depth, 6)
        ``quadrature.TURNS``.
    window : ndarray of float32, shape (degree + 1, lane)
        ``spreading.WEIGHTS``.
    deconvolution : ndarray of float64, shape (n,)
        ``spreading.DECONVOLUTION``.
    taps : ndarray of float32, shape (2, 4, 8)
        ``image_lookup.TAPS``.
    image_turns : ndarray of float64, shape (depth, 2)
        ``shoot_image.TURNS``.
    """

    nodes: Floats
    turns: Floats
    window: Singles
    deconvolution: Floats
    taps: Singles
    image_turns: Floats


class Row(NamedTuple):
    """One row, as one rendering samples it.

    Attributes
    ----------
    geometry : ndarray of float64, shape (PARAMETERS,)
        As in :class:`Packed`.
    series : ndarray of float64, shape (term,)
        As in :class:`Packed`.
    settings : ndarray of float64, shape (setting,)
        Those of this rendering.
    n_sersic, b_n : float
        Sersic index, and its b_n.
    unit : float
        What the light is multiplied by; 1 but for one component of several.
    """

    geometry: Floats
    series: Floats
    settings: Floats
    n_sersic: float
    b_n: float
    unit: float


class ImageRow(NamedTuple):
    """One row with an image as its source, as one rendering samples it.

    Attributes
    ----------
    geometry : ndarray of float64, shape (PARAMETERS,)
        As in :class:`Packed`.
    series : ndarray of float64, shape (term,)
        As in :class:`Packed`.
    settings : ndarray of float64, shape (setting,)
        Those of this rendering.
    pixels : ndarray of float32, flat
        As in :class:`Pictures`.
    frame : ndarray of int64, shape (level, 3)
        The image's.
    place : ndarray of float64, shape (3,)
        The image's.
    """

    geometry: Floats
    series: Floats
    settings: Floats
    pixels: Singles
    frame: Ints
    place: Floats


class Grid(NamedTuple):
    """The grid that a row's light is spread on.

    Attributes
    ----------
    light : ndarray of float32, flat
        Row after row, added to; in units of the central brightness times a pixel's area.
    stride : int
        Numbers to a row.
    step : float
        Distance of its points, pixels.
    origin_x, origin_y : float
        Its first point, pixels from the lens.
    """

    light: Singles
    stride: int
    step: float
    origin_x: float
    origin_y: float


class Sampling(NamedTuple):
    """How a row's components are sampled: what they have in common, in both renderings.

    Attributes
    ----------
    series : ndarray of float64, shape (term,)
        As in :class:`Packed`.
    settings : ndarray of float64, shape (2, setting)
        Those of the row.
    own : ndarray of float64, shape (setting,)
        Work space: those of one component.
    geometry : ndarray of float64, shape (PARAMETERS,)
        Work space: one component's.
    one, two : Grid
        Where the light of either rendering goes.
    core : float
        Factor on the radius inside of which panels are not graded.
    """

    series: Floats
    settings: Floats
    own: Floats
    geometry: Floats
    one: Grid
    two: Grid
    core: float


# Rows of ``ShootSpace.samples``. They are one array: eight, of which the compiler cannot know that they do not overlap,
# made a row with an EPL 7 % slower.
VALUE, WEIGHT, GRID_X, GRID_Y, SOURCE_X, SOURCE_Y, BEND_X, BEND_Y = range(8)


class StraightSpace(NamedTuple):
    """Work space of :mod:`lensflow.lensing.engine.straight`.

    Attributes
    ----------
    circle : ndarray of float64, shape (straight.COLUMNS, 2 quadrature.BASE)
        The rays at the ends and in the middles of the first panels of angle.
    leaves : ndarray of float64, shape (straight.LEAVES, 3)
        Panels of angle that wait to be sampled: cosine and sine of the middle, depth.
    rays : ndarray of float64, shape (straight.COLUMNS, straight.RAYS)
        Their rays, four each.
    work : ndarray of float64, shape (6, straight.RAYS)
        Numbers of rays while they are traced.
    sides : ndarray of float64, shape (4, 2 straight.RAYS)
        How the rays are divided, outwards from their closest approach and inwards.
    ends : ndarray of float64, shape (straight.SIDE + 1, 2 straight.RAYS)
        Ends of their radial panels, pixels from the closest approach.
    panels : ndarray of float64, shape (8, 4 MAX_PANELS)
        Radial panels of the rays of one panel of angle.
    """

    circle: Floats
    leaves: Floats
    rays: Floats
    work: Floats
    sides: Floats
    ends: Floats
    panels: Floats


class ShootSpace(NamedTuple):
    """Work space of :func:`lensflow.lensing.engine.shoot.shoot_row`, the same for every row.

    Attributes
    ----------
    samples : ndarray of float32, shape (8, MAX_SAMPLES)
        The samples of the angular panel at hand, filled from the start.

        - ``VALUE``: squared source radius (of a bent ray first the radius, pixels); in the end light times area.
        - ``WEIGHT``: area, pixels^2.
        - ``GRID_X``, ``GRID_Y``: position on the grid, in its steps.
        - ``SOURCE_X``, ``SOURCE_Y``: position in the source plane, half-light radii; only for images and bent rays, of
          which first the straight part.
        - ``BEND_X``, ``BEND_Y``: of a bent ray, what the power of the radius multiplies.
    edges : ndarray of float64, shape (MAX_PANELS, 2)
        Start and end of each radial panel of the ray at hand, pixels.
    rays : ndarray of float64, shape (4, quadrature.RAY)
        The rays of the panel at hand.
    stack : ndarray of float64, shape (shoot.STACK_ROWS, shoot.STACK_COLUMNS)
        Angular panels that wait: depth, cosine and sine of the middle, and its rays (left, middle, right).
    image_rays : ndarray of float64, shape (shoot_image.RAYS, quadrature.RAY)
        The rays of the panel at hand over an image.
    steps : ndarray of float64, shape (2, n, shoot_image.RAYS)
        Over an image, radii along a panel's rays and the squared distance of the knots at each.
    lanes : ndarray of float64, shape (22, shoot_image.RAYS)
        Numbers of each of the rays over an image: see :mod:`lensflow.lensing.engine.shoot_image`.
    line : ndarray of float64, shape (2, n)
        ``steps`` of the ray at hand.
    leaves : ndarray of float64, shape (n, 3)
        Parts of the circle over an image: see :mod:`lensflow.lensing.engine.image_angles`.
    straight : StraightSpace
        Of straight rays.
    """

    samples: Singles
    edges: Floats
    rays: Floats
    stack: Floats
    image_rays: Floats
    steps: Floats
    lanes: Floats
    line: Floats
    leaves: Floats
    straight: StraightSpace


class Grading(NamedTuple):
    """How long the radial panels of a ray may be, by their distance e (pixels) from the point of closest approach.

    Attributes
    ----------
    first : float
        The first one, pixels.
    growth : float
        Each next one, in units of e.
    longest : float
        Any one, pixels.
    steep, flatter : float
        ``steep + flatter e``, pixels: where the profile decays exponentially.
    bend : float
        Largest ratio of a panel's ends, for lines that are not straight towards r = 0.
    """

    first: float
    growth: float
    longest: float
    steep: float
    flatter: float
    bend: float


class Waves(NamedTuple):
    """Cosines and sines of 2 pi (frequency) (position).

    Positions are measured from the middle; one half of them is enough.

    Attributes
    ----------
    cos, sin : ndarray of float32, shape (position, frequency) or (frequency, position)
        At the points of the grid or the pixels of a kernel; or, transposed, at the pixel centres of the stamp.
    """

    cos: Singles
    sin: Singles


class Extent(NamedTuple):
    """How much of a grid holds light.

    Attributes
    ----------
    half : int
        Half of its points on a side.
    high, wide : int
        On either side of its middle, rows and columns that hold light; all others are 0.
    """

    half: int
    high: int
    wide: int


class Products(NamedTuple):
    """Work space of a product from both sides.

    Attributes
    ----------
    quarters : ndarray of float32, shape (4, >= h, >= h)
        What is even or odd along y and x, at half of the points of each axis.
    half : ndarray of float32, shape (>= k, >= h) or (>= h, >= k)
        The product from one side. ``half[0]`` also serves as a line of a spectrum.
    """

    quarters: Singles
    half: Singles


class Passed(NamedTuple):
    """What a band's PSF passes of a row's spectrum.

    Attributes
    ----------
    k : int
        Frequencies used, a multiple of 4.
    disc : float
        Distance within which they are.
    period : float
        Pixels.
    """

    k: int
    disc: float
    period: float


class PictureSpace(NamedTuple):
    """Work space from a spectrum to an image.

    Attributes
    ----------
    waves : Waves
        At the pixel centres, transposed.
    radial : ndarray of float32, shape (band, >= k, >= k)
        Each band's round PSF at all frequencies.
    shaped : ndarray of float32, shape (4, >= k, >= k)
        The spectrum times the PSF's transform.
    products : Products
        Of the transform to the pixels.
    """

    waves: Waves
    radial: Singles
    shaped: Singles
    products: Products
