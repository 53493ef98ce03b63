"""Check that client, scheduler and workers run the same code: identical bits need identical versions."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from distributed import Client

from lensflow.errors import ClusterError

# Libraries that decide the numbers or the protocol. Python must agree to the minor version, for pickles.
LIBRARIES = (
    *("lensflow", "dask", "distributed", "numpy", "scipy", "numba", "astropy", "xarray", "zarr", "numcodecs"),
    *("scikit-learn", "cloudpickle", "msgpack"),
)
WAY_OUT = (
    "Run the client from the same image or environment archive as the workers "
    "(docs/deploy-kubernetes.md, docs/deploy-emr.md)."
)


def check_agreement(client: Client) -> None:
    """Refuse workers (and a scheduler) that run other versions, or other lensflow code, than this process.

    Raises
    ------
    ClusterError
        Naming every difference and where it is.
    """
    found = client.get_versions(packages=list(LIBRARIES))
    here = _versions(found["client"])
    others = {"the scheduler": found["scheduler"], **{f"worker {k}": v for k, v in found["workers"].items()}}
    different: dict[str, list[str]] = {}
    for place, info in others.items():
        theirs = _versions(info)
        # A scheduler only moves messages; it needs no libraries for computing.
        names = ("python", "dask", "distributed", "msgpack") if place == "the scheduler" else here
        for name in names:
            if theirs.get(name) != here[name]:
                line = f"{name}: {here[name]} here, {theirs.get(name) or 'not installed'}"
                different.setdefault(line, []).append(place)
    if not different:
        digests = client.run(code_digest)
        for worker, digest in digests.items():
            if digest != code_digest():
                line = f"lensflow's sources: {code_digest()} here, {digest}"
                different.setdefault(line, []).append(f"worker {worker}")
    if different:
        lines = [f"{line} at {_some(places)}" for line, places in different.items()]
        raise ClusterError(
            "the cluster runs other code than this client:\n  " + "\n  ".join(lines) + f"\n{WAY_OUT}",
        )


def _versions(info: dict[str, Any] | None) -> dict[str, str | None]:
    """Library versions of one process, from ``get_versions``."""
    if not info:
        return {}
    python = ".".join(info["host"]["python"].split(".")[:2])
    return {"python": python, **{name: info["packages"].get(name) for name in LIBRARIES}}


def _some(places: list[str]) -> str:
    return places[0] if len(places) == 1 else f"{places[0]} and {len(places) - 1} other(s)"


@cache
def code_digest(root: Path = Path(__file__).parents[1]) -> str:
    """Fingerprint (16 hex digits) of this process's sources and presets: two checkouts of one version can differ."""
    digest = hashlib.sha256()
    for path in sorted([*root.rglob("*.py"), *(root / "presets").rglob("*.yaml")]):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]
