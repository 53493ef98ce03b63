"""Numbers beside the pixels must tell no class, neither in the run nor in the samples of a training."""

from __future__ import annotations

import numpy as np

from lensflow.config import RunConfig
from lensflow.config.export import NEGATIVE_KINDS
from lensflow.config.training import FEATURES
from lensflow.errors import ExportError
from lensflow.export.check.metadata import by_kind
from lensflow.export.check.rows import POSITIVE, Facts
from lensflow.export.samples import COUNTERFACTUAL
from lensflow.export.view import TrainingView
from lensflow.measure.gate import GateResult, Verdict
from lensflow.run.identity import stored_key
from lensflow.store.results import read_results
from lensflow.store.run_folder import RunFolder
from lensflow.training.features import HostFeatures

# Column of the gate that a feature is, by band: the manifest's PSF is made of the host's.
_COLUMNS = {"psf_fwhm": "psf_fwhm_arcsec"}
assert set(_COLUMNS) == set(FEATURES)


def refuse_without_gate(config: RunConfig, content: str) -> str:
    """Refuse features unless the run's gate on metadata has looked at them and says PASS.

    Parameters
    ----------
    config : RunConfig
        Its ``training.features``.
    content : str
        Fingerprint of the pairs.

    Returns
    -------
    str
        What the gates say, for the report; empty without features.

    Raises
    ------
    ExportError
        If the gate was not run, belongs to other pixels or settings, did not look at a feature, or says anything but
        PASS. The message says what to do.
    """
    names = config.training.features
    if not names:
        return ""
    folder = RunFolder.of(config)
    want = f"training.features: {', '.join(names)} needs PASS of the gate metadata_all"
    run_it = (
        f"Name metadata_all in gate.recipes and `lensflow certify {folder.root}`, which measures the gates and the "
        "certificate again; or leave training.features empty"
    )
    found = read_results(folder.gates, f"`lensflow gate {folder.root}`")
    if found is None:
        raise ExportError(f"{want}, and the gates of {folder.root} were not run. {run_it}.")
    if found.key != stored_key(config, "gates", content):
        raise ExportError(f"{want}, and the stored gates are of other pixels or settings than the run's. {run_it}.")
    stored: list[GateResult] = [GateResult.from_dict(g) for g in found.results]
    said = []
    for band in config.bands:
        of_band = [g for g in stored if g.name in ("metadata_all", f"metadata_{band}")]
        if not of_band:
            raise ExportError(f"{want}, and no gate looked at the metadata of band {band}. {run_it}.")
        for name in names:
            column = f"{_COLUMNS[name]}_{band}"
            blind = [g.name for g in of_band if column not in g.recipe.get("columns", ())]
            if blind:
                raise ExportError(f"{want}, and {', '.join(blind)} did not look at {column}. {run_it}.")
        for g in of_band:
            if g.verdict is not Verdict.PASS:
                raise ExportError(
                    f"{want}, and {g.name} says {g.verdict}: {g.reason}. Where metadata tell injections from "
                    "controls, a network would learn it; plan.controls and plan.controls_per_host decide which hosts "
                    "have both. Leave training.features empty, or plan the run again"
                )
        said += [f"{g.name} {g.verdict} ({g.reason})" for g in of_band]
    return "; ".join(dict.fromkeys(said))


def refuse_telling_samples(config: RunConfig, train: TrainingView, features: HostFeatures) -> str:
    """Refuse features that tell the classes of the samples themselves: negatives may live on hosts of their own.

    The gate on the run compares its own injections and controls. A training also has hosts that were never injected,
    and objects of a table: the same gate is asked of each kind of negatives. Counterfactuals are drawn from the
    positives by their row's key, so they cannot differ but by chance.

    Parameters
    ----------
    config : RunConfig
    train : TrainingView
    features : HostFeatures

    Returns
    -------
    str
        What was found, for the report.

    Raises
    ------
    ExportError
        If a kind of negatives can be told by them, or it is not known.
    """
    s = train.samples
    names, values = features.scale.columns, features.stored(s["host_index"].values)
    kind = np.array([*NEGATIVE_KINDS, POSITIVE])[s["negative_kind"].values]
    own = {n: s[n].values for n in ("y", "sample_id", "host_index", "split", "weight")}
    columns = {**own, "negative_kind": kind, **{n: values[:, k] for k, n in enumerate(names)}}
    some = kind != NEGATIVE_KINDS[COUNTERFACTUAL]
    facts = Facts(
        {}, (), {k: v[some] for k, v in columns.items()}, names, (), False, lambda split: None, config.seed
    )  # fmt: skip
    limit, said = config.gate.threshold_of("metadata_all"), []
    for one in by_kind(facts, names, config.gate):
        if not one.area.high <= limit:
            raise ExportError(
                f"training.features: {', '.join(names)} may tell negatives of kind {one.name} from positives: AUC "
                f"{one.area:.3f}, and the whole interval must be at or below {limit:g} ({one.reason}). Negatives that "
                "are the positives' own hosts cannot differ: set export.view: pairs, or export.negatives to controls "
                "alone; or leave training.features empty"
            )
        said.append(f"{one.name}: {one.reason}")
    return "; ".join(said)
