"""What deploy/emr hands to AWS and runs on its nodes: valid, without credentials, and it does what it says here."""

import importlib.util
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
EMR = ROOT / "deploy/emr"
FAKE_AWS = '#!/bin/sh\ncp "$STORE/${4#s3://bucket/}" "$5"\n'


def start():
    spec = importlib.util.spec_from_file_location("start", EMR / "start.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def cluster():
    return json.loads((EMR / "cluster.json").read_text())


@pytest.mark.parametrize("script", sorted(EMR.glob("*.sh")), ids=lambda p: p.name)
def test_every_script_parses_and_stops_at_the_first_error(script):
    shell = script.read_text().splitlines()[0].split("/")[-1].split()[-1]
    assert subprocess.run([shell, "-n", script]).returncode == 0
    assert "\nset -eu" in script.read_text()


def test_the_cluster_is_what_the_service_takes(tmp_path, capsys):
    start().main([str(EMR / "cluster.json"), "--check"])
    with pytest.raises(SystemExit, match="still to be filled in: YOUR-BUCKET, YOUR-SUBNET"):
        start().main([str(EMR / "cluster.json")])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["Instances", "KeepJobFlowAliveWhenNoStep"], False),
        (["Instances", "InstanceFleets", 2, "TargetSpotCapacty"], 4),
        (["Instances", "InstanceFleets", 0, "TargetOnDemandCapacity"], "one"),
        (["Steps", 0, "HadoopJarStep", "Arg"], []),
    ],
    ids=lambda v: ".".join(map(str, v)) if isinstance(v, list) else "",
)
def test_a_typo_in_the_cluster_is_found(cluster, tmp_path, path, value):
    part = cluster
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    file = tmp_path / "cluster.json"
    file.write_text(json.dumps(cluster))
    with pytest.raises(SystemExit, match=str(path[-1])):
        start().main([str(file), "--check"])


def test_the_cluster_ends_by_itself_and_only_workers_are_on_spot(cluster):
    fleets = {f["InstanceFleetType"]: f for f in cluster["Instances"]["InstanceFleets"]}
    assert not cluster["Instances"]["KeepJobFlowAliveWhenNoSteps"]
    assert [k for k, f in fleets.items() if "TargetSpotCapacity" in f] == ["TASK"]
    properties = cluster["Configurations"][0]["Properties"]
    assert properties["yarn.node-labels.am.default-node-label-expression"] == "CORE"


def test_the_policy_reaches_three_prefixes_and_emrs_own_buckets_only():
    allowed = json.loads((EMR / "s3-policy.json").read_text())["Statement"]
    assert all(
        s["Effect"] == "Allow" and all(a.startswith("s3:") and "*" not in a for a in s["Action"]) for s in allowed
    )
    writing = [s for s in allowed if {"s3:PutObject", "s3:DeleteObject"} & set(s["Action"])]
    assert [s["Resource"] for s in writing] == [["arn:aws:s3:::YOUR-BUCKET/lensflow/*"]]
    assert all(
        r.startswith(("arn:aws:s3:::YOUR-BUCKET", "arn:aws:s3:::*elasticmapreduce/"))
        for s in allowed
        for r in s["Resource"]
    )


@pytest.mark.parametrize(
    ("command", "words", "code"),
    [
        ([], ["run", "run.yaml", "--cluster", "yarn"], 0),
        ([], ["run", "run.yaml", "--cluster", "yarn"], 3),
        (["doctor"], ["doctor", "run.yaml"], 1),
    ],
)
def test_a_step_runs_the_config_on_yarn_with_the_archive_and_ends_with_lensflows_code(tmp_path, command, words, code):
    store, work, tools = (tmp_path / name for name in ("store", "work", "bin"))
    (packed := tmp_path / "packed/bin").mkdir(parents=True)
    (packed / "python").write_text(f'#!/bin/sh\nenv > "{tmp_path}/env"\necho "$@" > "{tmp_path}/said"\nexit {code}\n')
    (packed / "python").chmod(0o755)
    (store / "runs").mkdir(parents=True)
    with tarfile.open(store / "environment.tar.gz", "w:gz") as archive:
        archive.add(packed.parent, ".")
    (store / "runs/pilot.yaml").write_text("name: pilot\n")
    tools.mkdir()
    (tools / "aws").write_text(FAKE_AWS)
    (tools / "aws").chmod(0o755)
    environment = {"PATH": f"{tools}:{os.environ['PATH']}", "STORE": str(store), "LENSFLOW_WORK": str(work)}
    done = subprocess.run(["bash", EMR / "step.sh", "s3://bucket", "runs/pilot.yaml", *command], env=environment)
    assert done.returncode == code
    assert (tmp_path / "said").read_text().split() == ["-m", "lensflow", *words]
    assert yaml.safe_load((work / "run.yaml").read_text()) == {"name": "pilot"}
    said = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines() if "=" in line)
    assert said["DASK_YARN__ENVIRONMENT"] == f"{work}/environment.tar.gz"
    assert said["LENSFLOW_BUCKET"] == "bucket"
    assert said["DASK_YARN__DASHBOARD_ADDRESS"].startswith("127.0.0.1:")


def test_what_a_step_sets_is_what_the_cluster_reads(monkeypatch):
    import dask

    pytest.importorskip("skein", reason="the yarn extra is not installed")
    from lensflow.cluster.yarn.spec import YarnSettings

    names = {"DASK_YARN__ENVIRONMENT": "/e.tar.gz", "DASK_YARN__DASHBOARD_ADDRESS": "127.0.0.1:8787"}
    assert all(name in (EMR / "step.sh").read_text() for name in names)
    with dask.config.set(dask.config.collect(paths=[], env=names)):
        settings = YarnSettings.of()
    assert (settings.environment, settings.dashboard_address) == ("/e.tar.gz", "127.0.0.1:8787")


@pytest.mark.cluster
def test_an_environment_works_where_it_is_unpacked_and_names_no_other_place(tmp_path):
    wheel = tmp_path / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("tiny.py", "def main():\n    import sys; print('here', sys.prefix, *sys.argv[1:])\n")
        file.writestr("tiny-1.0.dist-info/entry_points.txt", "[console_scripts]\ntiny = tiny:main\n")
        file.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        file.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr("tiny-1.0.dist-info/RECORD", "")
    environment = {**os.environ, "PYTHON": sys.executable, "PIP_NO_INDEX": "1", "TMPDIR": str(tmp_path)}
    environment.pop("PYTHONPATH", None)
    archive = tmp_path / "environment.tar.gz"
    done = subprocess.run(
        [EMR / "make-environment.sh", archive, wheel], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    elsewhere = tmp_path / "elsewhere/environment"
    with tarfile.open(archive) as file:
        file.extraction_filter = lambda member, path: member  # Python before 3.11.4 knows none by name
        file.extractall(elsewhere)
    said = subprocess.run([elsewhere / "bin/tiny", "a b"], capture_output=True, text=True, env=environment)
    assert said.stdout.strip() == f"here {elsewhere} a b"
    said = subprocess.run([elsewhere / "bin/python", "-c", "import tiny; tiny.main()"], capture_output=True, text=True)
    assert said.stdout.strip() == f"here {elsewhere}"
    texts = [
        p.read_text(errors="replace")
        for p in (*(elsewhere / "bin").iterdir(), elsewhere / "pyvenv.cfg")
        if p.is_file() and p.stat().st_size < 10_000
    ]
    assert texts and not any("/environment/bin" in text for text in texts)
