"""The command as a whole: its help, its start, and what is no command."""

import subprocess
import sys
from pathlib import Path

import pytest
import typer

import lensflow
from lensflow import cli

COMMANDS = [
    "demo",
    "init",
    "warm-up",
    "config",
    "doctor",
    "run",
    "cut",
    "plan",
    "inject",
    "diagnose",
    "gate",
    "report",
    "tune-core",
    "score",
    "completeness",
    "realism",
    "zoo",
    "sweep",
    "export",
    "check-export",
    "train",
    "row",
    "docs",
    "view",
    "certify",
    "make-key",
    "verify",
    "materialise",
    "rerender",
    "compare",
]


def test_the_help_lists_the_commands_in_the_order_in_which_a_run_needs_them():
    assert list(typer.main.get_command(cli.app).commands) == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_helps_with_an_example(command, name):
    code, text = command(name, "--help")
    assert code == 0 and "Example" in text and f"lensflow {name}" in text


def test_the_help_loads_nothing_that_computes():
    ask = "import sys, lensflow.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout.split()
    assert "lensflow.cli" in loaded
    assert {"astropy", "dask", "distributed", "matplotlib", "numba", "scipy", "xarray", "zarr"}.isdisjoint(loaded)


def test_the_installed_command_answers():
    done = subprocess.run(
        [Path(sys.executable).with_name("lensflow"), "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == lensflow.__version__


def test_an_unknown_command_or_option_is_said_without_a_traceback(command):
    code, text = command("inejct")
    assert code == 2 and "inejct" in text
    code, text = command("run", "--no-such-option")
    assert code == 2 and "no-such-option" in text
