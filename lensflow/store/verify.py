"""Read a store back and compare it with its receipts and the record of its creation."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import zarr

from lensflow.errors import DamagedStoreError, StoreError
from lensflow.store import objects, paths
from lensflow.store.create import checksum, object_key
from lensflow.store.objects import CheckedStore, Created
from lensflow.store.pieces import fault_of, pieces_of
from lensflow.store.pixels import read_pixel_arrays
from lensflow.store.read import store_group
from lensflow.store.receipts import Receipt
from lensflow.store.regions import Region
from lensflow.store.rendered import refuse_other_code
from lensflow.store.run_folder import Places

# Objects read concurrently.
REQUESTS = 16


@dataclass(frozen=True)
class Damage:
    """A part of a store that is not as it was written.

    Attributes
    ----------
    store : str
        Name of the store ("cutouts", "manifest", "pairs").
    region : int
        -1 for what was written when the store was created.
    array : str
        Array, or "" where the receipt itself is at fault.
    object : str
        URL of the object.
    what : str
        What is wrong with it.
    """

    store: str
    region: int
    array: str
    object: str
    what: str

    def __str__(self) -> str:
        region = f", region {self.region}" if self.region >= 0 else ""
        array = f", {self.array}" if self.array else ""
        return f"{self.store}{region}{array}: {self.what} ({self.object})"


def check_region(url: str, store: str, region: Region, receipt: Receipt) -> list[Damage]:
    """Compare a region with its receipt: every stored byte, the decoded values, and pixels that are rendered.

    Parameters
    ----------
    url, store : str
        The zarr store and its name.
    region : Region
    receipt : Receipt

    Returns
    -------
    list of Damage
        Empty if everything is as it was written.
    """
    try:
        group = paths.open_group(url, wrapped=lambda inner: CheckedStore(inner, url, vouched=receipt.objects))
    except DamagedStoreError:
        return []  # said by check_created
    found = []
    found += _check_rendered(url, store, region, receipt)
    for name in (n for n in objects.read_created(url).arrays if n not in receipt.rendered):
        expected, place, what = receipt.checksums.get(name), paths.join(url, name), ""
        try:
            array = group[name]
            assert isinstance(array, zarr.Array)
            place = paths.join(url, object_key(array, region))
            with paths.explain_errors(url):
                values = np.asarray(array[region.slice])
            if checksum(values) != expected:
                what = "the values are not those of the receipt"
        except DamagedStoreError as error:
            if error.key.endswith(objects.ROOT):
                continue  # said by check_created
            what = f"the object {error.what}"
        if what:
            found.append(Damage(store, region.index, name, place, what))
    return found


def _check_rendered(url: str, store: str, region: Region, receipt: Receipt) -> list[Damage]:
    """Render the region's arrays that are not stored, and compare them with the receipt.

    Raises
    ------
    RenderedPixelsError
        If the code is not that of the run.
    """
    if not receipt.rendered:
        return []
    group = store_group(url, store)
    refuse_other_code(url, group)
    try:
        found = read_pixel_arrays(Places.beside(url), group, receipt.rendered, region.slice)
    except StoreError as error:
        return [Damage(store, region.index, receipt.rendered[0], url, str(error))]
    what = "rendered, its values are not those of the receipt"
    others = [name for name, values in found.items() if checksum(values) != receipt.checksums.get(name)]
    return [Damage(store, region.index, name, url, what) for name in others]


def check_created(url: str, store: str) -> list[Damage]:
    """Compare everything written at a store's creation with its record: metadata, columns, tables.

    Parameters
    ----------
    url, store : str
        The zarr store and its name.

    Returns
    -------
    list of Damage
    """
    try:
        created = objects.read_created(url)
    except DamagedStoreError as error:
        return [Damage(store, -1, "", error.key, f"the record of the store's creation {error.what}")]
    return [
        Damage(store, -1, key.partition("/")[0] if "/" in key else "", paths.join(url, key), f"the object {what}")
        for key, what in damaged_objects(url, created).items()
    ]


def damaged_objects(url: str, created: Created) -> dict[str, str]:
    """Key -> what is wrong, for the objects written at a store's creation."""
    expected = {k: pieces_of(text.encode()) for k, text in created.metadata.items()} | created.objects
    keys = [objects.ROOT, *expected]

    def fault(key: str) -> str:
        content = paths.read_object(paths.join(url, key))
        if content is None:
            return "is missing"
        if key != objects.ROOT:
            return fault_of(content, expected[key])
        try:
            same = created.accepts(objects.root_of(content))
        except (ValueError, TypeError, KeyError, AttributeError):
            same = False
        return "" if same else "is not what was written"

    with ThreadPoolExecutor(REQUESTS) as pool:
        return {key: what for key, what in zip(keys, pool.map(fault, keys), strict=True) if what}
