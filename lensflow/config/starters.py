"""Commented configs to begin with, one for each kind of survey."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from string import Template

import yaml

from lensflow.config.load import load_config
from lensflow.errors import ConfigError, did_you_mean

STARTERS = {
    "legacysurvey": "coadds of the DESI Legacy Surveys (DR9, DR10), on disk or S3",
    "hsc": "coadds of HSC-SSP (PDR2, PDR3)",
    "des": "coadds of DES (DR1, DR2)",
    "kids": "coadds of KiDS (DR3 to DR5)",
    "euclid": "MER mosaics of Euclid (Q1), VIS",
    "lsst": "coadds of Rubin's pipeline (DP1), as FITS",
    "pattern": "coadds of a survey of your own, one FITS file a band and field",
    "stamps": "FITS cubes of stamps that are cut already",
    "synthetic": "a small synthetic survey, written for the run",
}


def starter(survey: str, file: str, *, root: str = "", targets: str = "", out: str = "") -> str:
    """Text of a commented config.

    Parameters
    ----------
    survey : str
        A key of ``STARTERS``.
    file : str
        Where it will be: its comments name it, and the run has its name.
    root, targets, out : str
        Folder of the survey (or of the stamps), table of the hosts, folder of the run (``runs/<name>`` if empty).

    Returns
    -------
    str

    Raises
    ------
    ConfigError
        If the survey is not known, or needs what is not given.
    """
    if survey not in STARTERS:
        known = "; ".join(f"{k}: {v}" for k, v in STARTERS.items())
        raise ConfigError(f"no starter {survey!r}.{did_you_mean(survey, STARTERS)} Known: {known}")
    if survey != "synthetic" and (lost := [k for k, v in {"root": root, "targets": targets}.items() if not v]):
        raise ConfigError(f"a config for {survey} needs {' and '.join(f'--{n}' for n in lost)}")
    text = (resources.files("lensflow") / "configs" / "init" / f"{survey}.yaml").read_text()
    name = Path(file).stem
    if '"' in root or "\\" in root:
        raise ConfigError(f"--root {root}: quotes and backslashes cannot be in it")
    root = root.rstrip("/")
    values = {"root": root, "targets": targets, "out": out or f"runs/{name}", "name": name}
    values |= {f"image_{band}": f"{root}/image-{band}.fits" for band in "grz"}
    return Template(text).substitute({k: _scalar(v) for k, v in values.items()}, file=file)


def write_starter(file: str, text: str) -> None:
    """Write a config that :func:`starter` made, after reading it as a run would.

    Parameters
    ----------
    file : str
        A new file, which ends in .yaml or .yml.
    text : str

    Raises
    ------
    ConfigError
        If the file is there already, or the config cannot be read; nothing is left then.
    """
    path = Path(file)
    if path.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"{file}: a config is a YAML file, give a name that ends in .yaml")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x") as new:
            new.write(text)
    except FileExistsError:
        raise ConfigError(f"{file}: is there already, and is not replaced. Give another name") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written ({error.strerror})") from None
    try:
        load_config(path)
    except ConfigError:
        path.unlink()
        raise


def _scalar(text: str) -> str:
    """Text as YAML reads it back, in quotes where it must be."""
    return str(yaml.safe_dump(text, width=10_000, allow_unicode=True)).removesuffix("\n").removesuffix("\n...")
