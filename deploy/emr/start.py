"""Start the EMR cluster of a JSON file (cluster.json): it runs its step and ends. Prints the cluster's id.

python deploy/emr/start.py deploy/emr/cluster.json [--check]

Credentials and region are those of your shell (AWS_PROFILE, AWS_REGION, SSO); nothing is read from here.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import botocore.session
from botocore.validate import ParamValidator


def read(path: str) -> dict[str, Any]:
    """Read the cluster and check it against the service's own model: a misspelt key is an error here, not there."""
    tree: dict[str, Any] = json.loads(Path(path).read_text())
    shape = botocore.session.get_session().get_service_model("emr").operation_model("RunJobFlow").input_shape
    report = ParamValidator().validate(tree, shape)
    if report.has_errors():
        raise SystemExit(f"{path}: {report.generate_report()}")
    return tree


def main(arguments: list[str]) -> None:
    """Check, then start."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cluster", help="JSON with the parameters of RunJobFlow")
    parser.add_argument("--check", action="store_true", help="check the file, start nothing")
    given = parser.parse_args(arguments)
    tree = read(given.cluster)
    if given.check:
        return
    if left := sorted(set(re.findall(r"YOUR-[A-Z]+", json.dumps(tree)))):
        raise SystemExit(f"{given.cluster}: still to be filled in: {', '.join(left)}")
    client = botocore.session.get_session().create_client("emr")
    print(client.run_job_flow(**tree)["JobFlowId"])


if __name__ == "__main__":
    main(sys.argv[1:])
