"""What the deployment documents tell people to type exists."""

import re
from pathlib import Path

import pytest
import typer
import yaml

from lensflow import cli
from lensflow.config import load_config

ROOT = Path(__file__).parents[2]
DOCS = [ROOT / "docs/deploy-kubernetes.md", ROOT / "docs/deploy-emr.md"]


@pytest.mark.parametrize("doc", DOCS, ids=lambda p: p.name)
def test_every_file_that_is_named_exists(doc):
    named = set(
        re.findall(
            r"\b((?:deploy|workflows|docs|benchmarks|lensflow)/[\w./-]+\.(?:sh|py|json|yaml|md))", doc.read_text()
        )
    )
    named |= set(re.findall(r"\b(deploy/kubernetes/overlays/[a-z-]+)", doc.read_text()))
    assert len(named) > 5 and [name for name in sorted(named) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("doc", DOCS, ids=lambda p: p.name)
def test_every_lensflow_command_exists(doc):
    said = set(re.findall(r"(?:^    |&& |`)lensflow ([a-z]+)\b", doc.read_text(), re.MULTILINE))
    commands = typer.main.get_command(cli.app).commands
    assert said and said <= set(commands)


def test_the_config_of_a_client_in_hand_is_one():
    text = DOCS[0].read_text()
    block = re.search(r"^    cluster:\n(?:      .*\n)+", text, re.MULTILINE).group()
    tree = yaml.safe_load(block)
    assert load_config({"out": "x", "survey": {"root": "r", "targets": "t"}, **tree}).cluster.kind == "kubernetes"


def test_secrets_made_are_the_secrets_mounted():
    made = set(re.findall(r"create secret generic (\S+)", DOCS[0].read_text()))
    manifests = "".join(p.read_text() for p in (ROOT / "deploy/kubernetes").rglob("*.yaml"))
    assert made == set(re.findall(r"secretName: ([\w-]+)", manifests))
