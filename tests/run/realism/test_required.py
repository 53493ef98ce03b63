"""The comparison as part of a certificate."""

import pytest

from lensflow.errors import CertificateError, ConfigError
from lensflow.run.certify import certify_step, check_step
from lensflow.run.required_realism import realism_files, realism_gates
from lensflow.store import paths
from lensflow.store.run_folder import RunFolder
from tests.run.realism.sky import finished_run, sky_tree, the_sky


@pytest.mark.whole
def test_a_certificate_holds_the_verdict_and_notices_an_edited_one(tmp_path):
    tree = sky_tree("-", the_sky())
    config = finished_run(tmp_path / "run", realism={**tree["realism"], "required": True})
    certificate = certify_step(config)
    gates = {g["name"]: g for g in certificate["gates"]}
    assert "realism" in certificate["required"]
    assert gates["realism"]["verdict"] in ("INCONCLUSIVE", "NOT_TESTABLE", "FAIL")
    assert certificate["verdict"] != "PASS"
    check_step(config, quick=True)
    (name,) = realism_files(config)
    url = RunFolder.of(config).path("summaries", *name.split("/"))
    stored = paths.read_json(url)
    stored["results"]["gates"][0]["verdict"] = "PASS"
    paths.write_json(url, stored)
    with pytest.raises(CertificateError, match="realism"):
        check_step(config, quick=True)


def test_required_without_a_table_is_refused():
    from lensflow.config import load_config

    tree = {"out": "x", "survey": {"synthetic": {}}, "realism": {"required": True}}
    config = load_config(tree)
    with pytest.raises(ConfigError, match=r"realism\.required: with which real lenses"):
        realism_gates(config)
    assert realism_gates(load_config({**tree, "realism": {}})) == ()
