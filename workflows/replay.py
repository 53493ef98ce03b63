"""What the scripts on the core of real galaxies share: a config that falls back to the synthetic survey, and a run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lensflow as lf

CONFIGS = Path(__file__).parent / "configs"


def choose_config(name: str) -> Path:
    """Return the config of the real stamps where they are, else the synthetic one."""
    real = lf.load_config(CONFIGS / f"{name}.yaml")
    here = real.survey.stamps is not None and all(Path(f).exists() for f in real.survey.stamps.files.values())
    return CONFIGS / (f"{name}.yaml" if here else f"{name}_synthetic.yaml")


def parse(parser: argparse.ArgumentParser, name: str, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; ``config`` of the result is the loaded one, ``parser`` may have further options."""
    parser.add_argument("--config", type=Path, help="YAML file of the run; default: real stamps, else synthetic")
    parser.add_argument("--out", help="folder of the run; replaces the config's out")
    given = parser.parse_args(arguments)
    given.config = lf.load_config(given.config or choose_config(name), out=given.out)
    return given


def write(config: Any, name: str, text: str, figure: Any) -> None:
    """Write a text and its figure into the run's folder, and print the text."""
    folder = Path(config.out)
    (folder / f"{name}.md").write_text(text)
    (folder / f"{name}.png").write_bytes(figure.png)
    print(text)
    print(f"Written to {folder / name}.md and {name}.png")
