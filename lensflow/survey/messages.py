"""What cutting says of files and hosts: one line per cause, with the first affected host and the way out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lensflow.schema import Reason
from lensflow.survey import masks
from lensflow.survey.assess import RawBlock
from lensflow.survey.layout import Layout


@dataclass
class Messages:
    """Error lines, one per cause, each naming the first affected host and the number of the others."""

    hosts: dict[tuple[str, str, str], dict[str, None]] = field(default_factory=dict)

    def add(self, cause: str, mark: str, advice: str, host: str) -> None:
        """Note that ``cause`` struck ``host``, which is marked ``mark``; ``advice`` is the way out."""
        self.hosts.setdefault((cause, mark, advice), {})[host] = None

    def sort(self, names: NDArray[np.str_]) -> None:
        """Put hosts, and causes by their first host, in the order of ``names``."""
        place = {name: k for k, name in enumerate(names.tolist())}
        sorted_hosts = {key: sorted(hosts, key=place.__getitem__) for key, hosts in self.hosts.items()}
        by_first = sorted(sorted_hosts.items(), key=lambda item: place[item[1][0]])
        self.hosts = {key: dict.fromkeys(hosts) for key, hosts in by_first}

    def among(self, names: Iterable[str]) -> Messages:
        """Messages about some hosts."""
        wanted = set(names)
        kept = {key: {host: None for host in hosts if host in wanted} for key, hosts in self.hosts.items()}
        return Messages({key: hosts for key, hosts in kept.items() if hosts})

    def lines(self) -> list[str]:
        """Return one line per cause, mark and advice."""
        out = []
        for (cause, mark, advice), struck in self.hosts.items():
            others = f" and {len(struck) - 1} other{'s' if len(struck) > 2 else ''}" if len(struck) > 1 else ""
            out.append(f"{cause} Host {next(iter(struck))}{others} marked {mark}. {advice}")
        return out


def explain_no_psf(
    messages: Messages,
    band_reasons: NDArray[np.uint32],
    bands: Sequence[str],
    layout: Layout,
    bricks: NDArray[np.str_],
    names: NDArray[np.str_],
) -> None:
    """Explain which bands have no PSF size."""
    for row, b in np.argwhere((band_reasons & Reason.NO_PSF) != 0):
        path = layout.path(str(bricks[row]), "psfsize", bands[b])
        no_map = f"{path} is missing or 0 at the target" if layout.has("psfsize") else "this layout has no maps of it"
        cause = f"No PSF size in {bands[b]}: {no_map}, and neither targets nor r give one."
        advice = "No arc can be put there. Fetch the file, or assume a size with survey.psfsize_arcsec."
        messages.add(cause, f"NO_PSF_{bands[b]}", advice, str(names[row]))


def explain_odd_psf(
    messages: Messages, raw: RawBlock, band_reasons: NDArray[np.uint32], names: NDArray[np.str_]
) -> None:
    """Explain which PSF sizes were not used because they cannot be."""
    # An unused PSF image was already reported when it was read.
    for row, b in np.argwhere(((band_reasons & Reason.IMPLAUSIBLE_PSF) != 0) & np.isfinite(raw.psf_odd)):
        band, median = raw.bands[b], raw.psf_median[row, b]
        beside = f", the brick's median {median:.3g}" if np.isfinite(median) else ""
        cause = f"PSF size in {band} cannot be: {raw.psf_odd[row, b]:.3g} arcsec{beside}; it was not used."
        advice = "Half a pixel to 5 arcsec, and within a factor 2 of the brick's median, is plausible."
        messages.add(cause, f"IMPLAUSIBLE_PSF_{band}", advice, str(names[row]))


def explain_unknown_bits(messages: Messages, maskbits: NDArray[np.int32], names: NDArray[np.str_]) -> None:
    """Explain which hosts have mask bits without a name."""
    unknown = masks.unknown_bits(maskbits)
    for row in np.flatnonzero(unknown.any(axis=(-2, -1))):
        seen = int(np.bitwise_or.reduce(unknown[row], axis=None))
        bits = ", ".join(str(b) for b in range(seen.bit_length()) if seen >> b & 1)
        cause = f"maskbits has bits that DR9 and DR10 have not: {bits}. Their pixels are bad for mask_bits: default."
        messages.add(cause, "UNKNOWN_MASK_BIT", "Say with survey.mask_bits which bits are bad.", str(names[row]))
