"""Check a user's table against the plan and the cutouts: refuse or report values that cannot be applied."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from lensflow.config import RunConfig
from lensflow.errors import LensflowWarning, ManifestError
from lensflow.manifest.draws import Draws
from lensflow.manifest.table import InjectionTable


def refuse_unused(table: InjectionTable, config: RunConfig) -> None:
    """Refuse values for lenses that do not have them: an SIS is round, only an EPL has a slope."""
    model = table.columns.get("lens_model", np.full(table.size, config.plan.lens_model))
    for name, unused, value in (("lens_q", model == "SIS", 1.0), ("lens_gamma", model != "EPL", 2.0)):
        bad = unused & (table.columns.get(name, value) != value)
        if bad.any():
            row = int(np.argmax(bad))
            own = "its own" if "lens_model" in table.columns else "plan.lens_model"
            other = "SIE, which may be elliptical" if name == "lens_q" else "EPL, which has a slope"
            raise ManifestError(
                f"{config.plan.table}: {int(bad.sum())} row(s) give a {name} to lenses that do not have one, the first "
                f"with {table.columns[name][row]:g} to an {model[row]} ({own}). Give {value:g} there, choose "
                f"lens_model {other}, or leave the column out (plan.table_ignore: [{name}])."
            )


def warn_of_unknown(table: InjectionTable, n_hosts: int, config: RunConfig) -> None:
    """Warn of rows for hosts that are not in the cutouts."""
    names, n_rows = table.unseen()
    if len(names):
        shown = ", ".join(repr(str(n)) for n in names[:3])
        warnings.warn(
            f"{config.plan.table}: {n_rows} of {table.size} rows are for {len(names)} host(s) that are not among the "
            f"{n_hosts} of the cutouts ({shown}{', ...' * (len(names) > 3)}); they are left out.",
            LensflowWarning,
            stacklevel=4,
        )


def refuse_sources_in_front(draws: Draws, host_id: NDArray) -> None:
    """Refuse rows whose source is not behind its lens."""
    if "src_z" not in draws.given:
        return
    in_front = draws.given["src_z"] <= draws.host["z_lens"]
    if in_front.any():
        row = int(np.argmax(in_front))
        raise ManifestError(
            f"plan.table: src_z is {draws.given['src_z'][row]:g} for host {host_id[row]!s}, whose z_lens is "
            f"{draws.host['z_lens'][row]:g}: a source must lie behind its lens. {int(in_front.sum()) - 1} other row(s) "
            "alike. Correct them, or leave these hosts out of the table."
        )


def refuse_other_hosts(table: InjectionTable, host_id: NDArray, n_hosts: int, config: RunConfig) -> None:
    """Refuse a table without any host of the cutouts (whose first ``host_id`` are given): shows names of both."""
    ours, theirs = (", ".join(repr(str(h)) for h in ids[:3]) for ids in (table.host_ids, host_id))
    raise ManifestError(
        f"{config.plan.table}: none of its {len(table.host_ids)} hosts is among the {n_hosts} of the cutouts. The "
        f"table has {ours}, the cutouts have {theirs}. Write the table's host_id as the cutouts have it, or map the "
        "column that holds these names with survey.columns: {host_id: COLUMN} and cut again."
    )
