"""Put every known fault into a small run and draw which diagnostic notices which: docs/figures/zoo.png.

Run as ``python benchmarks/bug_zoo.py [png]``; a minute or two.
"""

from __future__ import annotations

import sys
from pathlib import Path

from lensflow.diagnostics.zoo import FAULTS, matrix
from lensflow.report.figures_findings import zoo


def main() -> None:
    """Make the matrix and print it."""
    place = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/figures/zoo.png")
    found = matrix()
    place.write_bytes(zoo(found, [f.caught_by for f in FAULTS]).png)
    for fault in FAULTS:
        row = found.sel(fault=fault.name)
        noticed = [str(d) for d in row["diagnostic"].values if int(row.sel(diagnostic=d)) > 0]
        print(f"{fault.name:28}{', '.join(noticed) or 'NOT NOTICED'}")
    alarms = int((found.sel(fault="none") > 0).sum())
    print(f"sound run: {alarms} diagnostics with an alarm. {place}")


if __name__ == "__main__":
    main()
