"""A manifest that does not hold what it declares is refused, whatever made it."""

import numpy as np
import pytest

from lensflow.errors import ManifestError
from lensflow.manifest.build import build_manifest
from lensflow.manifest.check import check_declared
from tests.factories import make_config, make_cutouts


@pytest.fixture(scope="module")
def cutouts():
    of_hosts = {"sigma_v_km_s": 230, "z_lens": 0.35}
    return make_cutouts(6).assign({k: ("host", np.full(6, v, np.float32)) for k, v in of_hosts.items()})


@pytest.fixture(scope="module")
def planned(cutouts):
    plan = {"theta_e_from": "sigma_v", "theta_e_min_arcsec": 0.3, "src_min_images": 2, "injections_per_host": 5}
    return build_manifest(cutouts, make_config(plan=plan))


def check(manifest, cutouts, **declared):
    check_declared(manifest, cutouts, {**manifest.attrs["declared"], **declared}, manifest.attrs["given"])


def test_a_plan_holds_what_it_declares(planned, cutouts):
    check(planned, cutouts)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("src_z", 9.0, "theta_e_arcsec is .* declared is that of the row's lens_sigma_v"),
        ("theta_e_arcsec", 1.0, "theta_e_arcsec is 1.0; declared is that of the row's lens_sigma_v"),
        ("theta_e_arcsec", 0.1, "theta_e_arcsec is 0.1; declared is no less than 0.3"),
        ("src_z", 0.2, "src_z is 0.2; declared is a source behind its lens"),
        ("lens_gamma", 2.1, "lens_gamma is 2.1; declared is an isothermal lens"),
        ("src_x_arcsec", 9.0, "src_x_arcsec is 9.0; declared is a position with 2 images"),
        ("lens_model", "SIS", "lens_q is .*; declared is a round lens"),
    ],
)
def test_one_row_that_is_not_as_declared_is_found(planned, cutouts, column, value, message):
    changed = planned.copy(deep=True)
    arcs = np.flatnonzero(~changed["is_control"].values & (changed["lens_q"].values < 1))
    changed[column].values[arcs[4]] = value
    with pytest.raises(ManifestError, match=rf"row {arcs[4]} .*{message}.*0 other"):
        check(changed, cutouts)


def test_blocks_of_hosts_are_checked_by_themselves(planned, cutouts):
    part = planned.isel(sample=planned["host_index"].values >= 3)
    check_declared(part, cutouts.isel(host=slice(3, 6)), planned.attrs["declared"], (), first=3)
