"""Test, before anything is written, whether the folder's content belongs to this config.

Every step checks this first. A refused step leaves every byte of the folder unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lensflow.config import RunConfig, fingerprint
from lensflow.errors import StaleStoreError, StoreError
from lensflow.run.kinds import code_of_added
from lensflow.run.plan_size import EXTENDABLE, extends, is_larger
from lensflow.store import objects, paths, resume
from lensflow.store.results import read_results
from lensflow.store.run_folder import STORES, RunFolder, config_of

_UNTIL_CUT = ("inputs.cutouts",)


def cutouts_content(config: RunConfig) -> str:
    """Fingerprint of the finished cutouts' bytes; with ``plan.limit_hosts``, of the regions that hold those hosts.

    Raises
    ------
    StoreError
        If they are not complete.
    """
    folder = RunFolder.of(config)
    limit = config.plan.limit_hosts
    return resume.finished_content(folder.receipts("cutouts"), folder.cutouts, "cutouts", "lensflow cut", limit)


def sources_content(config: RunConfig) -> dict[str, str]:
    """Fingerprint of the images that a run's sources are, as an input named ``sources``; nothing without images."""
    if config.plan.sources is None:
        return {}
    from lensflow.manifest.image_sources import bank_of  # the image library is only read if there are images

    bank = bank_of(config)
    return {} if bank is None else {"sources": fingerprint(bank.content())}


def manifest_identity(config: RunConfig, cutouts: str) -> dict[str, Any]:
    """Everything that the plan of a config depends on, given the content of its cutouts."""
    inputs = {"cutouts": cutouts, **sources_content(config)}
    if config.plan.table is not None:
        inputs["table"] = paths.content(config.plan.table)
    if config.plan.source_table is not None and not config.plan.source_table.is_published:
        inputs["source_table"] = paths.content(config.plan.source_table.table)
    return resume.identity(config, "manifest", inputs)


def pairs_identity(config: RunConfig, cutouts: str, manifest: str) -> dict[str, Any]:
    """Everything that the pairs of a config depend on, given its cutouts' content and its manifest's fingerprint."""
    return resume.identity(config, "pairs", {"cutouts": cutouts, "manifest": manifest, **sources_content(config)})


def refuse_other_run(config: RunConfig) -> None:
    """Refuse a config that does not match the stores in its folder; nothing is written.

    What each store depends on is compared as far as it is known before the step runs: settings, code, versions, the
    plan's table and images always; the content of cutouts and manifest once they are finished. (What the cutouts were
    read from is compared when they are cut, before they are touched.)

    Raises
    ------
    StaleStoreError
        Naming the keys that differ.
    """
    refuse_other_cut(config)
    refuse_unstored(config)
    folder = RunFolder.of(config)
    if not any(paths.group_exists(folder.store(s)) for s in STORES[1:]):
        return
    try:
        cutouts, unknown = cutouts_content(config), tuple[str, ...]()
    except StoreError:
        cutouts, unknown = "", _UNTIL_CUT
    plan = manifest_identity(config, cutouts)
    stored = [_identity_at(folder.store(s)) for s in STORES[1:]]
    wanted = [plan, pairs_identity(config, cutouts, "")]
    if all(s is None or extends(s, w) or _same_plan(s, w) for s, w in zip(stored, wanted, strict=True)) and any(
        extends(s, w) for s, w in zip(stored, wanted, strict=True)
    ):
        return
    resume.may_resume(folder.manifest, plan, unknown=unknown)
    manifest = "" if unknown else fingerprint(plan)
    identity = pairs_identity(config, cutouts, manifest)
    resume.may_resume(folder.pairs, identity, unknown=(*unknown, "inputs.manifest") if unknown else ())


def refuse_other_cut(config: RunConfig) -> None:
    """Refuse a config whose cutouts would be cut with other settings or code; their inputs are not compared.

    Raises
    ------
    StaleStoreError
    """
    folder = RunFolder.of(config)
    if paths.group_exists(folder.cutouts):
        stored: Any = objects.open_group(folder.cutouts).attrs.get("identity", {})
        inputs = [k for k in stored if k.startswith("inputs.")] if isinstance(stored, Mapping) else []
        wanted = resume.identity(config, "cutouts", {})
        resume.may_resume(folder.cutouts, wanted, unknown=inputs or ("inputs.targets",))


def _identity_at(url: str) -> Mapping[str, Any] | None:
    stored: Any = objects.open_group(url).attrs.get("identity") if paths.group_exists(url) else None
    return stored if isinstance(stored, Mapping) else None


def _same_plan(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether two identities differ only by the plan's size."""
    keys = {*stored, *wanted} - {"inputs.cutouts", "inputs.manifest"}
    return all(stored.get(k) == wanted.get(k) for k in keys)


def refuse_other_settings(config: RunConfig, larger: bool = False) -> None:
    """Refuse a config whose settings are not those that the stores in its folder were made with.

    For steps that measure: the code may be newer than the pixels, and the files that they came from may be gone.

    Parameters
    ----------
    config : RunConfig
    larger : bool
        Whether a larger plan is admitted, for steps that can extend a run.

    Raises
    ------
    StaleStoreError
        Naming the settings that differ.
    """
    for stage in STORES:
        refuse_settings_of_another(config, stage, larger)


def refuse_settings_of_another(config: RunConfig, stage: str, larger: bool = False) -> None:
    """Refuse a config whose settings are not those of one store; see :func:`refuse_other_settings`.

    Parameters
    ----------
    config : RunConfig
    stage : {"cutouts", "manifest", "pairs"}
    larger : bool
    """
    folder = RunFolder.of(config)
    url = folder.store(stage)
    stored: Any = objects.open_group(url).attrs.get("identity") if paths.group_exists(url) else None
    if not isinstance(stored, Mapping):
        return  # nothing is there, or the code that opens it reports the problem
    wanted = config.settings_of(stage)
    # A setting unknown to one side was added in another version: it had no effect there.
    keys = sorted(k for k in wanted if k in stored and stored[k] != wanted[k])
    if keys and not (larger and _is_larger_plan(stored, wanted, keys)):
        shown = "".join(f"\n  {k}: stored {stored[k]!r}, now {wanted[k]!r}" for k in keys[:12])
        raise StaleStoreError(
            f"{url}: made with other settings than this config's; {len(keys)} differ:{shown}\n"
            f"Nothing was changed. Restore those settings, or name the folder instead of a config: {folder.root}"
        )


def refuse_unstored(config: RunConfig) -> None:
    """Refuse a config that wants pixels of pairs stored which were made without: ``store.pixels`` was changed since.

    A store that has more than the config wants is as good.

    Raises
    ------
    StaleStoreError
    """
    folder = RunFolder.of(config)
    if not paths.group_exists(folder.pairs) or not paths.exists(objects.record_url(folder.pairs)):
        return
    lacking = sorted({*objects.read_created(folder.pairs).rendered} - {*config.store.rendered})
    if lacking:
        raise StaleStoreError(
            f"{folder.pairs}: made without stored pixels of {', '.join(lacking)}, and this config's store.pixels is "
            f"{config.store.pixels}. `lensflow materialise {folder.root}` stores them; or set store.pixels back. "
            "Nothing was changed."
        )


def _is_larger_plan(stored: Mapping[str, Any], wanted: Mapping[str, Any], keys: list[str]) -> bool:
    sizes = [{name: tree.get(f"plan.{name}") for name in EXTENDABLE} for tree in (stored, wanted)]
    return {k.removeprefix("plan.") for k in keys} <= {*EXTENDABLE} and is_larger(*sizes)


def pairs_content(config: RunConfig) -> str:
    """Fingerprint of the finished pairs' bytes.

    Raises
    ------
    StoreError
        If they are not complete.
    StaleStoreError
        If they were made with other settings, or (on a local disk) from another manifest or cutouts than are here.
    """
    refuse_other_settings(config)
    folder = RunFolder.of(config)
    if paths.is_local(config.out):  # elsewhere all receipts of the cutouts would be read each time
        resume.refuse_other_inputs(folder.pairs, folder.manifest, folder.cutouts)
    return resume.finished_content(folder.receipts("pairs"), folder.pairs, "pairs", "lensflow inject")


def stored_key(config: RunConfig, stage: str, content: str) -> str:
    """Key that stored ``diagnostics`` or ``gates`` carry if they belong to these settings and pixels."""
    added = code_of_added(config) if stage in ("diagnostics", "gates") else {}
    return fingerprint(config.settings_of(stage), content, *([added] if added else []))


def refuse_other_results(config: RunConfig) -> None:
    """Refuse a config with other settings of diagnostics or gates than the results that the folder has.

    Raises
    ------
    StaleStoreError
        Naming the settings that differ, as far as the folder's own config tells.
    """
    refuse_other_settings(config)
    folder = RunFolder.of(config)
    if not paths.exists(folder.config):
        return
    try:
        content = pairs_content(config)
    except StoreError:
        return  # not complete: no result belongs to them
    kept = config_of(folder.root)
    for stage, url in _results(folder).items():
        found = _key_of(url)
        if found is None or found == stored_key(config, stage, content) or found != stored_key(kept, stage, content):
            continue
        was, now = kept.settings_of(stage), config.settings_of(stage)
        shown = "".join(f"\n  {k}: stored {was.get(k)!r}, now {now[k]!r}" for k in now if was.get(k) != now[k])
        raise StaleStoreError(
            f"{url}: the {stage} were measured with other settings:{shown}\nNothing was changed. Run `lensflow gate` "
            f"with this config first, or name the folder instead of a config: {folder.root}"
        )


def keep_config(config: RunConfig) -> None:
    """Write the config into the run's folder, where everything in the folder is this config's work.

    A store or a result that was made with other settings keeps the config that made it.
    """
    folder = RunFolder.of(config)
    text = config.to_yaml()
    if paths.exists(folder.config) and paths.read_text(folder.config) == text:
        return
    try:
        refuse_other_settings(config)
        refuse_unstored(config)
        found = {stage: key for stage, url in _results(folder).items() if (key := _key_of(url)) is not None}
        content = pairs_content(config) if found else ""
    except StoreError:
        return
    if all(key == stored_key(config, stage, content) for stage, key in found.items()):
        paths.write_text(folder.config, text)


def _results(folder: RunFolder) -> dict[str, str]:
    return {"diagnostics": folder.diagnostics, "gates": folder.gates}


def _key_of(url: str) -> str | None:
    """Key of stored results; None if there are none."""
    stored = read_results(url)
    return None if stored is None else stored.key
