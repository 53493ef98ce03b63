"""A small view without a run: what every format is tested with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray


@dataclass(frozen=True)
class FakeNormalisation:
    kind: str = "survey"
    s: tuple[float, ...] = (0.5, 0.5, 0.5)
    n_pixels: tuple[int, ...] = (4096, 4096, 4096)

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind, "formula": "asinh(u / 10) * 10", "bands": ["g", "r", "z"], "a_nmgy": [0.0, 0.0, 0.0],
            "s_nmgy": list(self.s), "annulus_pix": [5.0, 8.0], "clip": 20.0, "stretch": "clip",
            "n_pixels": list(self.n_pixels), "n_hosts": 10,
        }  # fmt: skip


@dataclass(frozen=True)
class FakeView:
    """Pairs of hosts in units, each pair a stamp and its control; pixels are a function of the sample's id."""

    samples: xr.Dataset
    bands: tuple[str, ...] = ("g", "r", "z")
    channels: tuple[str, ...] = ("g", "r", "z")
    shape: tuple[int, int, int] = (3, 8, 8)
    normalisation: FakeNormalisation = field(default_factory=FakeNormalisation)

    @property
    def n_units(self) -> int:
        return int(self.samples["unit"].max()) + 1

    def raw(self, unit: int) -> dict[str, NDArray]:
        mine = self.samples.isel(sample=self.samples["unit"].values == unit)
        seeds = mine["sample_id"].values
        x = np.stack([np.random.default_rng(int(s)).normal(size=self.shape) for s in seeds]).astype(np.float32)
        return {"x": x, "valid": np.ones(x.shape, bool), **{k: mine[k].values for k in ("sample_id", "row_id", "y")}}

    read = raw


def fake_view(pairs: int = 60, unit_pairs: int = 12, per_host: int = 2, seed: int = 5, **changes: Any) -> FakeView:
    rng = np.random.default_rng(seed)
    row = rng.permutation(np.arange(10**6, 10**6 + pairs)).astype(np.uint64)
    n = 2 * pairs
    pair = np.repeat(np.arange(pairs), 2)
    y = np.tile([1, 0], pairs).astype(np.int8)
    host = pair // per_host
    columns = {
        "unit": (pair // unit_pairs).astype(np.int32),
        "sample_id": rng.integers(0, 2**64, n, dtype=np.uint64),
        "row_id": row[pair],
        "host_id": np.array([f"h{h:04d}" for h in host]),
        "host_index": host.astype(np.int64),
        "pair_id": pair.astype(np.int64),
        "y": y,
        "weight": np.ones(n, np.float32),
        "negative_kind": np.where(y > 0, -1, 0).astype(np.int8),
        "split": np.zeros(n, np.int8),
        "snr": rng.uniform(3, 40, pairs)[pair].astype(np.float32),
        "theta_e_arcsec": rng.uniform(0.5, 3, pairs)[pair].astype(np.float32),
        "psfsize_arcsec": rng.uniform(1, 2, pairs // per_host + 1)[host].astype(np.float32),
        "ra_deg": (10 + 0.01 * host).astype(np.float64),
        "dec_deg": (0.02 * host).astype(np.float64),
        "stratum": (pair % 5).astype(np.int32),
        "is_clean": np.ones(n, bool),
    }
    return FakeView(xr.Dataset({k: ("sample", v) for k, v in columns.items()}), **changes)


def fake_about(verdict: str = "PASS") -> dict[str, Any]:
    """What ``export.json`` says beside the view."""
    reason = "core_r passed" if verdict == "PASS" else "core_r: AUC 0.71 is above 0.55"
    return {
        "view": "single",
        "made": "2026-11-27",
        "version": "1.0.0",
        "run": {
            "name": "toy", "path": "runs/toy", "config_digest": "0123456789abcdef", "seed": 1, "version": "0.1.0",
            "code": "feed",
        },
        "survey": {
            "source": "a synthetic survey", "hosts": "drawn", "license": "other", "license_url": "https://example.org/l",
            "url": "https://example.org/toy", "creator": "the authors of toy", "acknowledgement": "Nobody to thank.",
            "citation": "toy (2026)",
        },
        "certificate": {
            "verdict": verdict, "reason": reason, "seal": "ab" * 32,
            "gates": [{"name": "core_r", "verdict": verdict, "auc": 0.51, "auc_low": 0.48, "auc_high": 0.54}],
        },
        "realism": {"verdict": "FAIL", "reason": "AUC 0.9", "table": "lenses.csv", "limits": "No promise."},
        "settings": {"min_snr": 3.0, "faint": "drop", "purpose": "search", "quantize": "none"},
        "check": {},
    }  # fmt: skip
