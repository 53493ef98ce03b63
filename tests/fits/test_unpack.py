import bz2
import gzip
import lzma

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lensflow.fits import unpack as module
from lensflow.fits.header import FormatError
from lensflow.fits.unpack import packing, unpack

PACKERS = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}


@pytest.mark.parametrize("how", PACKERS)
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.sampled_from([b"", b"\0" * 512]))
def test_packed_parts_one_after_the_other_are_one_file(how, parts, padding):
    data = b"".join(map(PACKERS[how], parts)) + padding
    assert packing(data) == how
    assert unpack(data, how) == b"".join(parts)


@pytest.mark.parametrize("how", PACKERS)
def test_a_packed_file_cut_short_or_garbled_is_refused(how):
    data = PACKERS[how](np.random.default_rng(0).bytes(5000))
    for damaged in (data[: len(data) // 2], data[:-9], data[:2000] + b"\xff" * 20 + data[2020:]):
        with pytest.raises(FormatError, match=rf"truncated|cannot be unpacked by {how}"):
            unpack(damaged, how)


@pytest.mark.parametrize(
    ("head", "name"), [(b"\x1f\x9d\x90", r"compress \(\.Z\)"), (b"PK\x03\x04", "zip"), (b"\x28\xb5\x2f\xfd", "zstd")]
)
def test_other_packings_are_refused_by_name(head, name):
    with pytest.raises(FormatError, match=f"packed by {name}"):
        packing(head + bytes(100))


def test_a_file_that_unpacks_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(module, "MAX_UNPACKED_BYTES", 1 << 16)
    with pytest.raises(FormatError, match="unpacks to more than"):
        unpack(gzip.compress(bytes(1 << 20)), "gzip")
    with pytest.raises(FormatError, match="unpacks to more than"):
        unpack(gzip.compress(bytes(1 << 15)) * 4, "gzip")
