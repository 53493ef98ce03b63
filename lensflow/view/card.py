"""The card of one row: every truth value, its pixels, and where to see the place on the sky."""

from __future__ import annotations

from html import escape

import numpy as np

from lensflow.show.row_card import row_table, viewer_link
from lensflow.store.open import read_head, read_pairs_block
from lensflow.store.regions import Region
from lensflow.view.rows import Rows


def card_html(rows: Rows, place: int, real: bool) -> str:
    """Card of a row as HTML, all text escaped.

    Parameters
    ----------
    rows : Rows
    place : int
        Among the rows of the page.
    real : bool
        Whether the survey is of the sky: then there is a link to the viewer of the Legacy Surveys.

    Returns
    -------
    str

    Raises
    ------
    StoreError
        If the row cannot be read.
    """
    folder, number = rows.folder, int(rows.number[place])
    block = read_pairs_block(folder.pairs, folder.manifest, folder.cutouts, Region(0, number, number + 1))
    host = int(rows.host_index[place])
    sky = read_head(folder.cutouts, "cutouts", slice(host, host + 1), ("ra_deg", "dec_deg"))
    names = rows.host_ids(np.array([place]))
    row = (
        block.assign_coords(sample=[number], host_id=("sample", names))
        .assign({n: ("sample", sky[n].values, sky[n].attrs) for n in ("ra_deg", "dec_deg")})
        .isel(sample=0)
    )
    link = viewer_link(row, real)
    line = f'<p><a href="{escape(link)}" target="_blank" rel="noopener">Legacy Surveys viewer</a></p>' if link else ""
    return line + str(row_table(row).html())
