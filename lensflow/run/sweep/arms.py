"""The arms of a sweep: a config and a folder each; they share cutouts and, unless the plan changes, the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lensflow.config import RunConfig
from lensflow.config.completeness import CompletenessConfig
from lensflow.config.sweep import Levels, differing_settings, label_of, value_of, with_setting
from lensflow.errors import ConfigError, RealismError, StoreError
from lensflow.measure.realism.sweep.factors import NULL, Factor, find_factor
from lensflow.run.cut import cut_step
from lensflow.run.execute import Progress
from lensflow.run.identity import cutouts_content, refuse_other_settings
from lensflow.run.plan import plan_step
from lensflow.store import paths
from lensflow.store.lease import hold
from lensflow.store.open import read_attrs
from lensflow.store.run_folder import RunFolder
from lensflow.store.share import share_store


@dataclass(frozen=True)
class Arm:
    """One arm: an ordinary run.

    Attributes
    ----------
    label : str
        Of its values, as the folder is named.
    values : mapping
        Setting -> value.
    config : RunConfig
        Its ``out`` is the arm's folder; that of the sweep's run where the values are that run's own.
    """

    label: str
    values: Mapping[str, Any]
    config: RunConfig

    def counted_by(self, section: CompletenessConfig) -> Arm:
        """The arm with another section ``completeness``: a command's options count, and are no setting of a run."""
        return replace(self, config=self.config.model_copy(update={"completeness": section}))

    @property
    def has_exact_arcs(self) -> bool:
        """Whether its arcs are stored as they were added, and so can be read instead of rendered."""
        return self.config.store.arc_steps_per_sigma == 0


@dataclass(frozen=True)
class Design:
    """What a sweep compares.

    Attributes
    ----------
    base : RunConfig
        The run whose cutouts and plan all arms have.
    factors : tuple of Factor
        One, or two for an interaction; none for a null arm alone.
    arms : tuple of Arm
        The reference first. With two factors: reference, first changed, second changed, both changed.
    null : Arm
        The reference once more: its rows are made again and compared, and not stored.
    folder : str
        Of the sweep.
    """

    base: RunConfig
    factors: tuple[Factor, ...]
    arms: tuple[Arm, ...]
    null: Arm
    folder: str

    @property
    def reference(self) -> Arm:
        """The arm that all others are compared with."""
        return self.arms[0]

    @property
    def name(self) -> str:
        """Settings that change."""
        return "+".join(f.setting for f in self.factors) or NULL

    @property
    def owned(self) -> tuple[str, ...]:
        """Columns of the manifest that the factors change."""
        return tuple(dict.fromkeys(c for f in self.factors for c in f.owned))

    @property
    def edges(self) -> list[tuple[int, int, Factor]]:
        """Arms that differ in one factor, by place: (from, to, factor)."""
        if len(self.factors) < 2:
            return [(0, k, self.factors[0]) for k in range(1, len(self.arms))]
        first, second = self.factors
        return [(0, 1, first), (0, 2, second), (1, 3, second), (2, 3, first)]

    @property
    def writes(self) -> bool:
        """Whether arms have pixels of their own."""
        return not self.factors or any(f.road != "view" for f in self.factors)

    def source_of(self, arm: Arm) -> Arm | None:
        """The arm whose stored arcs an arm reads; None where it is rendered.

        Arms that differ in noise or rounding alone have the same arcs. The null arm takes the road of the others: it
        is rendered where any of them is.

        Parameters
        ----------
        arm : Arm
        """
        rendered = {f.setting for f in self.factors if f.road == "render"}
        if not self.factors or (arm is self.null and rendered):
            return None
        own = {k: v for k, v in arm.values.items() if k in rendered}
        same = [a for a in self.arms if {k: v for k, v in a.values.items() if k in rendered} == own]
        found = next((a for a in same if a.has_exact_arcs), None)
        if found is None or arm is self.null:
            return found
        return None if found is arm or found.config.out == arm.config.out else found

    @property
    def in_order(self) -> list[Arm]:
        """Every arm that is stored, those whose arcs others read first."""
        return sorted(self.arms, key=lambda a: self.source_of(a) is not None)


def design_of(config: RunConfig, levels: Sequence[Levels], interaction: bool = False) -> Design:
    """Lay out a sweep; nothing is read or written.

    Parameters
    ----------
    config : RunConfig
        Of the run that is swept.
    levels : sequence of Levels
        One factor, or two with ``interaction``.
    interaction : bool
        Cross two factors of two values each.

    Returns
    -------
    Design

    Raises
    ------
    ConfigError
        If a factor is unknown, a value is none, twice there or alone, or two factors come without ``interaction``.
    RealismError
        If two configs differ in more than the factor.
    """
    if not levels:
        raise ConfigError("a sweep needs a factor: --factor injection.noise=true,false (docs/sweep.md)")
    if len(levels) > 1 and not interaction:
        raise ConfigError(
            f"two factors ({', '.join(v.setting for v in levels)}) change two settings at once, and nobody could say "
            "which of them moved a number. Sweep them one after the other, or cross them: --interaction"
        )
    if interaction and len(levels) != 2:
        raise ConfigError(f"--interaction crosses two factors, not {len(levels)}")
    root = RunFolder.of(config).sweeps
    if levels[0].setting == NULL and not interaction:
        folder = paths.join(root, NULL)
        alone = Arm("reference", {}, config)
        return Design(config, (), (alone,), _null(alone), folder)
    factors = tuple(find_factor(v.setting) for v in levels)
    crossed = [_with_own(config, v) for v in levels]
    for v in crossed:
        _refuse(v, two=interaction)
    folder = paths.join(root, "+".join(v.setting for v in levels))
    if not interaction:
        values: list[dict[str, Any]] = [{crossed[0].setting: v} for v in crossed[0].values]
    else:
        (a, b), (first, second) = crossed, (v.values for v in crossed)
        values = [{a.setting: x, b.setting: y} for y in second for x in first]
        if factors[0].setting == factors[1].setting:
            raise ConfigError(f"--interaction crosses two factors, not {a.setting} with itself")
    arms = tuple(_arm(config, v, folder) for v in values)
    design = Design(config, factors, arms, _null(arms[0]), folder)
    for one, other, factor in design.edges:
        refuse_other_differences(arms[one].config, arms[other].config, factor)
    return design


def refuse_other_differences(a: RunConfig, b: RunConfig, factor: Factor) -> list[str]:
    """Refuse two configs that differ in anything but one setting.

    Parameters
    ----------
    a, b : RunConfig
    factor : Factor

    Returns
    -------
    list of str
        The flat keys that differ: the factor's setting, or (of a range) what is below it.

    Raises
    ------
    ConfigError
        If they do not differ.
    RealismError
        If they differ in another setting, too.
    """
    keys = differing_settings(a, b)
    if not keys:
        raise ConfigError(f"sweep factor {factor.setting}: two of its values are the same setting")
    others = [k for k in keys if k != factor.setting and not k.startswith(f"{factor.setting}.")]
    if others:
        raise RealismError(
            f"factor {factor.name!r} also changed the setting{'s' * (len(others) > 1)} {', '.join(others)}: sweeps "
            "change one setting and no other"
        )
    return keys


def prepare_base(design: Design, progress: Progress) -> None:
    """Cut and plan the run that a sweep starts from, where that is left to do: then the plan is frozen.

    Raises
    ------
    StaleStoreError
        If the folder holds the work of other settings.
    """
    config, folder = design.base, RunFolder.of(design.base)
    refuse_other_settings(config)
    try:
        cutouts_content(config)
    except StoreError:
        cut_step(config, progress)
    try:
        read_attrs(folder.manifest, "manifest")
    except StoreError:  # none, or not finished
        plan_step(config, progress)
    identity: Any = read_attrs(folder.manifest, "manifest").get("identity", {})
    if "inputs.manifest" in identity and any(f.redraws for f in design.factors):
        names = ", ".join(f.setting for f in design.factors if f.redraws)
        raise ConfigError(
            f"sweep factor {names}: the manifest of {folder.root} was given, not drawn from the plan, so the plan "
            "cannot be drawn with another setting. Sweep what acts on given rows (injection.*, store.*), or plan it"
        )


def prepare_arm(design: Design, arm: Arm, progress: Progress) -> None:
    """Give an arm its cutouts and its manifest: the frozen one, or one drawn with the factor's other value.

    Raises
    ------
    StaleStoreError
        If the arm's folder holds other work.
    """
    if arm.config.out == design.base.out:
        return
    source, target = RunFolder.of(design.base), RunFolder.of(arm.config)
    same_plan = not differing_plan(design.base, arm.config)
    with hold(target.root) as held:
        refuse_other_settings(arm.config)
        share_store(source, target, "cutouts", held.guard)
        if same_plan:
            share_store(source, target, "manifest", held.guard)
        else:
            plan_step(arm.config, progress)


def differing_plan(a: RunConfig, b: RunConfig) -> list[str]:
    """Settings of the manifest in which two configs differ."""
    one, other = (c.settings_of("manifest") for c in (a, b))
    return sorted(k for k in {*one, *other} if one.get(k) != other.get(k))


def _with_own(config: RunConfig, levels: Levels) -> Levels:
    """One value alone is compared with the run's own."""
    if len(levels.values) != 1:
        return levels
    with_setting(config, levels.setting, levels.values[0])  # its error, if there is no such setting
    return Levels(levels.setting, (value_of(config, levels.setting), *levels.values))


def _refuse(levels: Levels, two: bool) -> None:
    labels = levels.labels
    twice = sorted({n for n in labels if labels.count(n) > 1})
    if twice:
        raise ConfigError(f"sweep factor {levels.setting}: named twice: {', '.join(twice)}")
    if len(levels.values) < 2:
        raise ConfigError(f"sweep factor {levels.setting}: no value is given")
    if two and len(levels.values) != 2:
        raise ConfigError(
            f"sweep factor {levels.setting}: an interaction is that of two values each, not {len(levels.values)}"
        )


def _arm(config: RunConfig, values: Mapping[str, Any], folder: str) -> Arm:
    label = "+".join(label_of(v) for v in values.values())
    made = config
    for setting, value in values.items():
        made = with_setting(made, setting, value)
    # With the run's own values the arm is the run; where only the scorer's view differs, its pixels are the run's.
    own = not differing_settings(config, made) or _only_views(values)
    return Arm(label, dict(values), made if own else made.model_copy(update={"out": paths.join(folder, label)}))


def _null(reference: Arm) -> Arm:
    # By the reference's name: another sweep of the same factor may have another one.
    return Arm(f"null-of-{reference.label}", reference.values, reference.config)


def _only_views(values: Mapping[str, Any]) -> bool:
    return bool(values) and all(find_factor(s).road == "view" for s in values)
