"""The README as a newcomer reads it: its commands exist and run, its Python runs (links: test_docs.py)."""

import re
import shlex
from pathlib import Path

import joblib
import numpy as np
import pytest
import typer
import yaml
from sklearn.linear_model import LogisticRegression

from lensflow import cli
from tests.small_run import finished_copy
from tests.surveys.made_files import SURVEYS, write_survey

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
# Pages that docs/conf.py makes.
MADE = {"api.md", "changelog.md", "commands.md", "contributing.md", "gallery.md"}
COMMANDS = [line.split("  #")[0].strip() for block in re.findall(r"```sh\n(.*?)```", README, re.S)
            for line in block.splitlines() if line.strip()]  # fmt: skip
OF_LENSFLOW = [shlex.split(c)[1:] for c in COMMANDS if c.startswith("lensflow")]
# Covered elsewhere: a whole run (make demo), a training (tests/training), a run of one's own (tests/surveys).
ELSEWHERE = {("demo",), ("train", "runs/demo"), ("run", "mine.yaml")}


def test_there_are_commands_and_each_is_known_with_its_options():
    assert len(OF_LENSFLOW) >= 8
    group = typer.main.get_command(cli.app)
    for name, *arguments in OF_LENSFLOW:
        command = group.commands[name]
        context = typer.Context(command, info_name=name, resilient_parsing=True)
        command.make_parser(context).parse_args(list(arguments))


def test_other_commands_are_pips_and_targets_of_make():
    rest = [c for c in COMMANDS if not c.startswith("lensflow")]
    assert rest == ["pip install ."]
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"`make ([a-z-]+)`", README + (ROOT / "CONTRIBUTING.md").read_text())) <= targets


def test_every_command_of_the_index_of_pages_is_a_page():
    named = re.findall(r"\]\(docs/([a-z0-9-]+)\.md", README)
    pages = {p.stem for p in (ROOT / "docs").glob("*.md")}
    explained = pages - {"index", "learn", "how-to", "reference", "explanation", "about"} - {m[:-3] for m in MADE}
    # Whatever is not in its table of documents is reached from a page that is.
    assert set(named) <= pages and len(explained - set(named)) < 8, explained - set(named)


def test_a_pass_comes_before_what_is_no_pass():
    table = README[README.index("| gate |") :]
    assert table.index("PASS") < table.index("EXPLAINED")


@pytest.mark.whole
def test_commands_and_python_run_on_a_finished_run(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    finished_copy(tmp_path / "runs" / "demo")
    # In the place of the toy, for which 24 hosts are too few.
    noise = np.random.default_rng(0).normal(size=(20, 3 * 64 * 64))
    joblib.dump(LogisticRegression().fit(noise, np.arange(20) % 2), tmp_path / "runs" / "demo" / "toy_finder.joblib")
    # As the demo's config does for its own verdict; 24 hosts may have any.
    file = tmp_path / "runs" / "demo" / "config.yaml"
    tree = yaml.safe_load(file.read_text())
    tree["export"] |= {"allow_verdicts": ["EXPLAINED", "FAIL", "INCONCLUSIVE", "NOT_TESTABLE"]}
    file.write_text(yaml.safe_dump(tree))
    hsc = write_survey(SURVEYS["hsc"], tmp_path / "deepCoadd-results")
    assert hsc.name == "hosts.csv"
    codes = {}
    for arguments in OF_LENSFLOW:
        if tuple(arguments) not in ELSEWHERE:
            # Two hosts of val set no smaller rate, and no injection in them is clean.
            fewer = ["--split", "train"] if arguments[0] == "export" else []
            codes[arguments[0]], said = command(*("0.5" if a == "0.1" else a for a in arguments), *fewer)
            assert codes[arguments[0]] == 0 or arguments[0] in ("certify", "check-export"), said
    # A run of 24 hosts has no verdict that means something, which the certificate and the export's check may say.
    assert codes["certify"] in (0, 3) and codes["check-export"] in (0, 3)
    assert (tmp_path / "row.png").stat().st_size > 1000
    (block,) = re.findall(r"```python\n(.*?)```", README, re.S)
    scope = {}
    exec(block, scope)
    printed = capsys.readouterr().out
    assert "core_r" in printed and scope["residual"].sizes["y"] == 64
