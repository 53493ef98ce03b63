"""Settings of exports and training views: which rows of a run become samples, and what is done to their pixels."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from lensflow.config.base import Fraction, Positive, Section
from lensflow.config.core import NEGATIVES as HANDLINGS
from lensflow.errors import did_you_mean

PURPOSES = ("search", "study")
VIEWS = ("single", "concat", "residual", "pairs", "triplet")
# Views with the control in the sample: at inference there is none.
NEEDS_CONTROL = ("concat", "residual")
FORMATS = ("zarr", "npy", "parquet", "webdataset", "hats")
NEGATIVE_KINDS = ("control", "counterfactual", "host_other", "table")
# Counterfactuals that keep blur and noise of the added light as they are.
COUNTERFACTUALS = ("blob", "moved", "rotated")
MIN_STEPS_PER_SIGMA = 4
_SKY = re.compile(r"sky/([1-9][0-9]*)")


class SharesConfig(Section):
    """Shares of the kinds of negatives; they sum to 1."""

    control: Fraction = Field(0.7, description="the hosts of the positives, without their arcs")
    counterfactual: Fraction = Field(0.1, description="those hosts with arc light that is no lens (counterfactuals)")
    host_other: Fraction = Field(
        0.2, description="hosts that carry no injection; where a run has too few, control takes what is left"
    )
    table: Fraction = Field(
        0.0, description="real non-lenses (spirals, rings, mergers) of the table that lensflow realism RUN --real cut"
    )

    @model_validator(mode="after")
    def _sum_to_one(self) -> Self:
        total = sum(getattr(self, k) for k in NEGATIVE_KINDS)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the shares of {', '.join(NEGATIVE_KINDS)} sum to {total:g}, not to 1")
        return self

    @property
    def is_given(self) -> bool:
        """Whether they are other than the defaults: kinds that a config asks for must be there."""
        return self != SharesConfig()


class NormalisationConfig(Section):
    """x' = f((x - a) / s) for each band; the same constants for both classes."""

    kind: Literal["survey", "annulus", "dataset", "sample", "none"] = Field(
        "survey",
        description="survey: a = 0, s = the median sky sigma of the train controls, asinh(u / 10) * 10; annulus: "
        "median and 1.4826 MAD of each stamp's annulus; dataset: mean and standard deviation of the train controls; "
        "sample: those of each stamp, which lets an arc dim its own host (it warns); none: nMgy",
    )
    r_in_pix: Positive | None = Field(None, description="annulus, inner radius; null: 0.3125 times the stamp's side")
    r_out_pix: Positive | None = Field(None, description="annulus, outer radius; null: half the stamp's side")
    clip: Positive = Field(20.0, description="annulus: values are limited to +-clip; at 10 bright arcs saturate")
    stretch: Literal["clip", "asinh"] = Field("clip", description="annulus: f; asinh is asinh(u / 10) * 10")

    @model_validator(mode="after")
    def _annulus_is_one(self) -> Self:
        if self.r_in_pix is not None and self.r_out_pix is not None and self.r_in_pix >= self.r_out_pix:
            raise ValueError(f"r_in_pix must be below r_out_pix, not {self.r_in_pix:g} and {self.r_out_pix:g}")
        return self

    def annulus_pix(self, size: int) -> tuple[float, float]:
        """Inner and outer radius of the annulus.

        Parameters
        ----------
        size : int
            Side of a stamp, pixels.

        Returns
        -------
        (float, float)
            Pixels.
        """
        return self.r_in_pix or 0.3125 * size, self.r_out_pix or 0.5 * size


class ExportConfig(Section):
    """Training views and exports (``lensflow export``, ``lf.training_view``): what is in a sample, and in a class."""

    purpose: Literal["search", "study", "deploy"] = Field(
        "search",
        description="search: only views that a search can have, which has no control; deploy: the same, and the "
        "verdict on real lenses (realism) must be PASS; study: any view",
    )
    view: Literal["single", "concat", "residual", "pairs", "triplet"] = Field(
        "single",
        description="single: stamps and controls, one image each; concat: stamp and control in one sample; residual: "
        "stamp - control; pairs: both, with a pair's id; triplet: stamp, its control, another arc",
    )
    lens_light: Literal["kept", "radial", "smooth"] = Field(
        "kept",
        description="light of the lens galaxy, in every image alike: kept; radial: medians of 1-pixel rings about the "
        "target taken off; smooth: elliptical Gaussians taken off (docs/lens-light.md). A network trained on such "
        "images must be given such images",
    )
    format: Literal["zarr", "npy", "parquet", "webdataset", "hats"] = Field(
        "zarr", description="zarr: an index over the run's own stores, no copy"
    )
    allow_verdicts: tuple[str, ...] = Field(
        (), description="verdicts of the certificate that are exported although they are not PASS; the card says them"
    )
    min_snr: float = Field(
        3.0, ge=0, description="positives have snr_matched of at least this; below it nobody could see the arc"
    )
    faint: Literal["drop", "weight", "keep"] = Field(
        "drop",
        description="positives below min_snr in train: left out; kept with weight clip((snr - 1) / 4, 0.05, 1); or "
        "kept. val and test keep them all. None becomes a negative",
    )
    tags: str | None = Field(
        None, description="CSV file of tagged rows, as lensflow view writes it (row_id, host_id, tag, note)"
    )
    leave_out: tuple[str, ...] = Field(
        (), description="tags of export.tags whose injections become no positives; counted by tag, in the card too"
    )
    controls_per_positive: Positive = Field(1.0, description="total weight of the negatives over that of the positives")
    negatives: SharesConfig = SharesConfig()
    counterfactuals: tuple[str, ...] = Field(
        ("moved",),
        min_length=1,
        description="what counterfactual negatives are made of: moved (the arc 16 pixels off the target), blob (a "
        "point source with the arc's core flux, without shot noise of its own; reads the arcs), rotated (by 180 "
        "degrees: it still looks like a lens). Shuffled pixels are refused: they have another texture",
    )
    residual_negatives: Literal["control", "matched", "two_epochs"] = Field(
        "control",
        description="view residual: control - control is 0 exactly, and is refused; matched: difference of two hosts "
        "of one stratum; two_epochs: of two exposures, where the store has a second one",
    )
    normalisation: NormalisationConfig = NormalisationConfig()
    valid_channel: bool = Field(False, description="one more channel: 1 where every band has data, else 0")
    quantize: str = Field(
        "none", description="none, or sky/N, N >= 4: stamps and controls are rounded alike before normalisation"
    )
    dtype: Literal["float32", "float16"] = Field("float32", description="of the exported images")
    shard_mb: Positive = Field(128, description="MB of images in one exported file, before compression")
    shards: int | None = Field(None, ge=1, description="files of each split, at least; null: as shard_mb says")
    readers: int = Field(
        1, ge=1, description="worker processes times ranks that will read a webdataset: it gets two files for each"
    )
    mixed_units: int = Field(
        4, ge=1, description="shards of the run, from all over the survey, whose rows are mixed into the same files"
    )
    license: str | None = Field(
        None, description="licence of the data, as the Hugging Face hub names it (cc-by-4.0); null: other"
    )
    license_url: str | None = Field(None, description="its address; null: that of the survey's terms, if known")
    url: str | None = Field(None, description="where the data will be published")
    creator: str | None = Field(None, description="who publishes the data")
    acknowledgement: str | None = Field(None, description="text that users of the imaging must print")
    citation: str | None = Field(None, description="how to cite the data")
    version: str = Field(
        "1.0.0",
        pattern=r"^\d+\.\d+\.\d+$",
        description="of the data: MAJOR when a row moves between splits or a label changes, MINOR for added rows, "
        "PATCH for text",
    )

    @field_validator("counterfactuals")
    @classmethod
    def _keep_their_texture(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in COUNTERFACTUALS:
                why = (
                    "shuffled pixels lose the PSF's correlation, and a network reads that texture"
                    if name == "shuffled"
                    else "matched negatives are controls of other hosts, not counterfactuals"
                    if name in HANDLINGS
                    else f"no such counterfactual.{did_you_mean(name, COUNTERFACTUALS)}"
                )
                raise ValueError(f"{name!r}: {why} Allowed: {', '.join(COUNTERFACTUALS)}")
        if len(set(value)) != len(value):
            raise ValueError(f"named twice: {', '.join(value)}")
        return value

    @field_validator("allow_verdicts")
    @classmethod
    def _are_verdicts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        known = ("PASS", "FAIL", "INCONCLUSIVE", "EXPLAINED", "NOT_TESTABLE")
        for name in value:
            if name not in known:
                raise ValueError(f"{name!r} is no verdict.{did_you_mean(name, known)} There are {', '.join(known)}")
        return value

    @model_validator(mode="after")
    def _tags_are_used(self) -> Self:
        if (self.tags is None) != (not self.leave_out):
            given, other = ("leave_out", "tags") if self.tags is None else ("tags", "leave_out")
            raise ValueError(f"{given} without {other}: tags is the file, leave_out says which of its tags are meant")
        return self

    @field_validator("quantize")
    @classmethod
    def _step_is_fine(cls, value: str) -> str:
        hit = _SKY.fullmatch(value)
        if value != "none" and not hit:
            raise ValueError("must be none or sky/N with a whole number N, such as sky/16")
        if hit and int(hit[1]) < MIN_STEPS_PER_SIGMA:
            raise ValueError(f"{value} is coarser than sky/{MIN_STEPS_PER_SIGMA}: the steps could be seen in the noise")
        return value

    @property
    def steps_per_sigma(self) -> int:
        """N of ``quantize: sky/N``; 0 if pixels are exported as they are."""
        return 0 if self.quantize == "none" else int(self.quantize.removeprefix("sky/"))


class CoreMaskConfig(Section):
    """Core masks of some samples of an epoch, of both classes at the same rate."""

    r0: Positive = Field(4.0, description="pixels inside become the fill, about the target")
    r1: Positive = Field(7.0, description="pixels from here on are unchanged; between, the weight rises from 0 to 1")
    probability: tuple[Fraction, Fraction] = Field(
        (0.5, 0.2), description="share of masked samples in the first and in the last epoch; linear between them"
    )
    fill: Literal["annulus"] = Field("annulus", description="noise of the annulus: its pixels, drawn with replacement")
    classes: str = Field("both", description="both: a mask on one class would tell it")

    @field_validator("classes")
    @classmethod
    def _both(cls, value: str) -> str:
        if value != "both":
            raise ValueError(f"only both, not {value!r}: a mask on one class would tell it from the other")
        return value

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.r0 >= self.r1:
            raise ValueError(f"r0 must be below r1, not {self.r0:g} and {self.r1:g}")
        return self


class LoaderConfig(Section):
    """How samples are handed to a training: part of the section ``training``."""

    batch_size: int = Field(256, ge=1, description="samples of a batch")
    order: Literal["free", "together", "apart"] = Field(
        "free", description="stamp and control of a pair: anyhow, in one batch (paired losses), or never in one batch"
    )
    balance: Literal["pair", "host", "stratum"] = Field(
        "pair",
        description="pair: every sample once in an epoch; host: one pair of each host; stratum: weights that make "
        "cells of theta_E x PSF size equal, at most 5, recorded",
    )
    window: int = Field(8, ge=1, description="units (whole shards) that are read and mixed at a time")
    augment: bool = Field(True, description="quarter turns and flips, exact and keyed by seed, epoch and pair")
    max_shift_pix: int = Field(
        0, ge=0, description="shifts of up to this by cropping: images lose this many pixels on each side"
    )
    core_mask: CoreMaskConfig | None = Field(None, description="schedule of core masks; null: none")
