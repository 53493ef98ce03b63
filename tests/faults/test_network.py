"""Runs on a real S3 server behind a link and a server that fail."""

import pytest

from lensflow import run as steps
from lensflow.errors import StoreError
from lensflow.fits import reach
from lensflow.store import paths, receipts
from lensflow.store.lease import hold
from lensflow.store.run_folder import RunFolder
from tests.faults.conftest import make_pairs
from tests.s3.compare import store_digests
from tests.s3.proxy import Faults

pytestmark = [pytest.mark.faults, pytest.mark.s3]


STRUCK = {
    "503": Faults(error="SlowDown", error_share=0.05),
    "500": Faults(error="InternalError", error_share=0.05),
    "reset": Faults(reset_share=0.05),
    "truncated": Faults(truncated_share=0.1, methods=("GET",)),
    "lost reply": Faults(lost_reply_share=0.15, methods=("PUT",)),
    "slow link": Faults(bytes_per_s=2_000_000),
}


@pytest.mark.parametrize("library", ["s3fs", "obstore"])
@pytest.mark.parametrize("fault", STRUCK)
def test_a_run_outlasts_faults_of_the_link_byte_for_byte(whole, behind, proxy, fault, library):
    proxy.faults = STRUCK[fault]
    config = behind(library)
    make_pairs(config)
    assert proxy.counts["struck"] > 0 or fault == "slow link"
    proxy.faults = Faults()
    assert store_digests(config.out) == whole.digests
    assert steps.verify_step(config.out).damage == ()


@pytest.mark.parametrize(
    ("faults", "says"),
    [
        (Faults(error="ExpiredToken", error_share=1.0), "refuses access"),
        (Faults(error="SlowDown", error_share=1.0), "does not answer as it should"),
    ],
    ids=["403 for a while", "503 for long"],
)
def test_what_lasts_stops_the_run_and_the_same_command_goes_on_afterwards(
    whole, behind, proxy, monkeypatch, faults, says
):
    monkeypatch.setattr(reach, "ATTEMPTS", 2)  # or the waits take a minute
    config = behind()
    steps.cut_step(config)
    steps.plan_step(config)

    def begin(stage, done, total):
        if (stage, done) == ("inject", 1):
            proxy.faults = faults

    with pytest.raises(StoreError, match=says):
        steps.inject_step(config, begin)
    proxy.faults = Faults()
    kept = receipts.read_receipts(RunFolder.of(config).receipts("pairs"))
    assert kept
    steps.inject_step(config)
    assert {
        i: r for i, r in receipts.read_receipts(RunFolder.of(config).receipts("pairs")).items() if i in kept
    } == kept
    assert store_digests(config.out) == whole.digests


def test_a_lease_whose_reply_was_lost_is_still_held(behind, proxy):
    config = behind()
    proxy.faults = Faults(lost_reply_share=1.0, methods=("PUT",), first=1)
    with hold(config.out):
        assert proxy.counts["lost reply"] == 1 and proxy.counts["refused: exists already"] == 1
    assert paths.list_names(config.out) == []
