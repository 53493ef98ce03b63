"""A survey of one brick with six hosts on disk, and the config of a run on it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.shared import made_once
from tests.survey.brick_factory import BRICK, brick_wcs, write_brick

POSITIONS = [(60.3, 70.2), (150.0, 150.6), (220.4, 90.9), (100.5, 210.1), (230.2, 230.8), (150.0, 60.0)]


def _write_survey(folder: Path) -> None:
    def hosts(products: Any) -> None:
        y, x = np.mgrid[:300, :300]
        for px, py in POSITIONS:
            light = np.exp(-0.5 * ((x - px) ** 2 + (y - py) ** 2) / 9) / 56.5
            for band, flux in {"g": 2, "r": 9, "z": 18}.items():
                products["image", band] += (flux * light).astype(np.float32)

    write_brick(folder, edit=hosts)


def small_survey(folder: Path) -> dict[str, Any]:
    """Write the survey and its targets; the config as it stands in a YAML file."""
    root = shutil.copytree(made_once("small-survey", _write_survey), folder / "survey")
    targets = write_targets(folder / "targets.csv")
    return {
        "out": str(folder / "run"),
        "survey": {"root": str(root), "targets": str(targets), "failure_budget": 0.2},
        "plan": {"injections_per_host": 2},
        "store": {"samples_per_region": 8, "hosts_per_region": 4, "inner_chunk": 4},
        "gate": {"bootstrap": 50},
        "diagnostics": {"bootstrap": 50},
        "cluster": {"kind": "threads", "dashboard": None},
    }


def write_targets(
    path: Path,
    positions: Sequence[tuple[float, float]] = POSITIONS,
    extra: Sequence[str] = (),
    brick: str = BRICK,
) -> Path:
    rows = ["host_id,ra_deg,dec_deg,brickname"]
    for i, (x, y) in enumerate(positions):
        ra, dec = brick_wcs().pixel_to_world_values(x, y)
        rows.append(f"h{i},{float(ra):.8f},{float(dec):.8f},{brick}")
    path.write_text("\n".join([*rows, *extra]) + "\n")
    return path
