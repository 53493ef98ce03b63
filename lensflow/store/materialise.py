"""Store pixels that were rendered when they were read, region by region; the store is valid at every moment.

Objects come first, then the region's receipt: until then its pixels are rendered, and the objects that are there
already are read by nobody. The metadata of an array, by which other readers than lensflow find it, come once all its
regions are stored.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from lensflow.errors import RenderedPixelsError
from lensflow.store import create, objects, paths, receipts, writing
from lensflow.store.objects import Guard, unguarded
from lensflow.store.pieces import size_of
from lensflow.store.pixels import read_pixel_arrays
from lensflow.store.read import store_group
from lensflow.store.receipts import Receipt
from lensflow.store.regions import Region
from lensflow.store.run_folder import Places


def store_rendered(url: str, region: Region, receipt: Receipt, guard: Guard = unguarded) -> int:
    """Store the pixels of a region that are rendered when they are read, and renew its receipt.

    Parameters
    ----------
    url : str
        The pairs.
    region : Region
    receipt : Receipt
        Of that region.
    guard : callable, optional
        Raises once the folder is another run's.

    Returns
    -------
    int
        Bytes written; 0 if nothing of it was to be rendered.

    Raises
    ------
    RenderedPixelsError
        If the pixels are not those of the receipt; nothing was written.
    """
    if not receipt.rendered:
        return 0
    group = store_group(url, "pairs")
    arrays: dict[str, NDArray[Any]] = read_pixel_arrays(Places.beside(url), group, receipt.rendered, region.slice)
    other = [name for name, values in arrays.items() if create.checksum(values) != receipt.checksums[name]]
    if other:
        raise RenderedPixelsError(
            f"{url}: region {region.index} is rendered here with another {other[0]} than its receipt has. Nothing "
            "of it was stored."
        )

    def may_write() -> bool:
        guard()
        return True

    with paths.explain_errors(url):
        written = writing.write_objects(url, writing.encode_arrays(arrays, group, region), may_write)
    guard()
    n_bytes = receipt.bytes + sum(values.nbytes for values in arrays.values())
    renewed = replace(receipt, objects={**receipt.objects, **written}, rendered=[], bytes=n_bytes)
    receipts.replace_receipt(objects.folder_of(url), renewed)
    return sum(size_of(pieces) for pieces in written.values())


def reveal(url: str, guard: Guard = unguarded) -> None:
    """Write the metadata of arrays all of whose regions are stored, and then the record that has them.

    If interrupted, repeat it: until the record is written the arrays count as before.
    """
    created = objects.read_created(url)
    for key, text in created.virtual.items():
        guard()
        paths.remove(paths.join(url, key))
        paths.write_text(paths.join(url, key), text)
    if created.virtual:
        guard()
        metadata = {**created.metadata, **created.virtual}
        objects.write_created(url, replace(created, metadata=metadata, virtual={}))
