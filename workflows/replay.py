"""Shared by the scripts on real galaxies' cores: a config that falls back to the synthetic survey, and a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import lensflow as lf

ReplayConfig = Annotated[
    str | None, typer.Option("--config", help="YAML file of the run; default: real stamps, else synthetic")
]

CONFIGS = Path(__file__).parent / "configs"


def choose_config(name: str) -> Path:
    """Return the config of the real stamps if present, else the synthetic one."""
    real = lf.load_config(CONFIGS / f"{name}.yaml")
    here = real.survey.stamps is not None and all(Path(f).exists() for f in real.survey.stamps.files.values())
    return CONFIGS / (f"{name}.yaml" if here else f"{name}_synthetic.yaml")


def load(name: str, config: str | None, out: str | None) -> Any:
    """Load the given config, or choose one by name."""
    return lf.load_config(config or choose_config(name), out=out)


def write(config: Any, name: str, text: str, figure: Any) -> None:
    """Write a text and its figure into the run's folder, and print the text."""
    folder = Path(config.out)
    (folder / f"{name}.md").write_text(text)
    (folder / f"{name}.png").write_bytes(figure.png)
    print(text)
    print(f"Written to {folder / name}.md and {name}.png")
