"""Reader of HATS exports in the column layout of Multimodal Universe: images in nMgy, which are normalised here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lensflow.export.check.readers.common import images_of
from lensflow.export.check.readers.parquet import ParquetReader
from lensflow.export.normalisation import Normalisation

_PREFIX = "sim_"


class HatsReader(ParquetReader):
    """``SPLIT/dataset/Norder=K/Dir=D/Npix=P.parquet``."""

    def __init__(self, out: str, description: Mapping[str, Any]):
        super().__init__(out, description)
        self.normalisation = Normalisation.from_json(description["normalisation"])

    def pixels(self, table: pa.Table, name: str) -> NDArray[Any]:
        """Images, normalised with the constants of ``export.json``; a NaN that the mask calls data stays one."""
        image = pa.concat_arrays(table["image"].chunks)
        flux, mask = (self._flat(image.field(f), table.num_rows, name) for f in ("flux", "mask"))
        x = self.normalisation.apply(flux.astype(np.float32), mask & np.isfinite(flux))
        x[mask & ~np.isfinite(flux)] = np.nan
        return x

    def plain(self, table: pa.Table) -> pa.Table:
        """Columns without the prefix of simulations."""
        names = {"ra": "ra_deg", "dec": "dec_deg"}
        kept = [n for n in table.column_names if n not in ("image", "_healpix_29", "object_id")]
        table = table.select(kept)
        return table.rename_columns([names.get(n, n.removeprefix(_PREFIX)) for n in kept])

    def _flat(self, values: pa.Array, n: int, name: str) -> NDArray[Any]:
        while pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
            values = values.flatten()
        return images_of(values.to_numpy(zero_copy_only=False), n, self.shape, name)
