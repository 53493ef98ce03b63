"""Settings of the training: the network, its loss, the order of the samples, and what its scores must pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StrictBool, field_validator, model_validator

from lensflow.config.base import Fraction, Positive, Section
from lensflow.config.place import INPUT
from lensflow.errors import did_you_mean

MODELS = {
    "resnet18": "ResNet-18 (He et al. 2016), 11 million parameters, for a GPU",
    "tiny": "three convolutions, about 24,000 parameters, for tests and a CPU",
}
# What only one class would get says the class.
_CLASSES = ("stamp", "stamps", "positive", "positives", "control", "controls", "negative", "negatives", "classes", "y")


class CoreMaskConfig(Section):
    """Hide the core of some training samples, of both classes at the same rate, so that a network looks elsewhere."""

    r0: Positive = Field(4.0, description="pixels at r <= r0 pix become the fill")
    r1: Positive = Field(7.0, description="pixels at r >= r1 pix are unchanged; between, a mixture that rises with r")
    probability: tuple[Fraction, Fraction] = Field(
        (0.5, 0.2), description="share of samples in the first and in the last epoch; linear between"
    )
    fill: Literal["annulus"] = Field(
        "annulus", description="noise with median and scatter of the stamp's annulus, drawn alike for both classes"
    )

    @model_validator(mode="before")
    @classmethod
    def _same_for_both_classes(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            rates = value.get("probability")
            named = [k for k in _CLASSES if k in value or (isinstance(rates, Mapping) and k in rates)]
            if named:
                raise ValueError(
                    f"{named[0]}: a mask that only one class has, or has more often, tells the class: probability is "
                    "two shares, of the first and of the last epoch, and holds for both classes"
                )
            if str(value.get("fill", "annulus")).lower() in ("0", "0.0", "zero", "zeros"):
                raise ValueError("fill: zeros are no sky: a network learns the hole. Use annulus")
        return value

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.r1 <= self.r0:
            raise ValueError(f"r1 must be larger than r0, not {self.r1:g} and {self.r0:g} pix")
        return self


class AugmentConfig(Section):
    """Exact changes of training samples: nothing resamples, adds noise, or is done to one class only."""

    turns: bool = Field(True, description="quarter turns")
    flips: bool = Field(True, description="mirror images")
    max_shift_pix: int = Field(0, ge=0, le=16, description="shifts up to this, by cropping the sample on all sides")


class TrainingConfig(Section):
    """The reference training (``lensflow train``), and the order in which a loader hands out samples."""

    model: str = Field(
        "resnet18",
        description="; ".join(f"{k}: {v}" for k, v in MODELS.items())
        + "; or package.module:callable, which gets the number of channels and returns a torch.nn.Module",
    )
    stem: Literal["imagenet", "small"] = Field(
        "imagenet", description="of resnet18: 7 x 7 stride 2 and pooling; small: 3 x 3 stride 1, 20 times slower"
    )
    pretrained: Annotated[StrictBool | str, INPUT] = Field(
        True,
        description="start resnet18 from ImageNet weights: from torch's cache or its server where reachable (where not "
        "the result says pretrained: false); or from this file of a state_dict; false: never",
    )
    device: str = Field("auto", description="auto (a GPU where there is one), cpu, or what torch calls a device")
    learning_rate: Positive = Field(1e-3, description="of AdamW; cosine to 0 after the warm-up")
    weight_decay: float = Field(1e-4, ge=0, description="of AdamW")
    batch: int = Field(256, ge=2, description="samples of a batch")
    epochs: int = Field(50, ge=1, description="passes over the train split")
    warm_up_epochs: float = Field(1.0, ge=0, description="epochs in which the learning rate rises from 0")
    seed: int = Field(0, ge=0, description="of weights, order and augmentation")
    aux: Literal["none", "margin", "rank"] = Field(
        "none",
        description="auxiliary loss of pairs: margin: weight x mean of max(0, margin - |z_stamp - z_control|)^2 of the "
        "normalised embeddings; rank: weight x mean of softplus(score of control - score of stamp)",
    )
    aux_weight: Positive = Field(0.1, description="weight of the auxiliary loss")
    aux_margin: Positive = Field(
        1.0, le=2, description="margin of aux: margin; normalised embeddings are at most 2 apart"
    )
    aux_min_snr: float = Field(
        5.0, ge=0, description="only pairs with snr_matched from here on: of others the loss asks for the impossible"
    )
    order: Literal["free", "together", "apart"] = Field(
        "free", description="a stamp and its control: anywhere, in one batch (needed by aux), or never in one batch"
    )
    balance: Literal["pair", "host", "stratum"] = Field(
        "pair",
        description="an epoch has every pair once; or of each host one of its rows; or equal weight per cell of "
        "theta_E x PSF size, weights at most 5",
    )
    window: int = Field(8, ge=1, description="whole shards that are read and mixed together")
    augment: AugmentConfig = AugmentConfig()
    core_mask: CoreMaskConfig | None = Field(None, description="hide cores while training; null: never")
    max_bad_pixel_frac: Fraction = Field(0.2, description="hosts with a larger share of bad pixels are left out")
    max_auc_gap: Fraction = Field(0.03, description="train_val_gap passes if train's AUC is at most this above val's")
    max_stratum_auc: float = Field(
        0.55, gt=0.5, le=1, description="strata passes if controls of two strata differ by no more (and 1 minus it)"
    )

    @field_validator("model")
    @classmethod
    def _is_known(cls, value: str) -> str:
        if value not in MODELS and ":" not in value:
            hint = f"{did_you_mean(value, MODELS)} One of {', '.join(MODELS)}, or package.module:callable"
            raise ValueError(f"no model {value!r}.{hint}")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.aux != "none" and self.order != "together":
            raise ValueError(f"aux: {self.aux} compares a stamp with its control: set order: together")
        if self.warm_up_epochs > self.epochs:
            raise ValueError(f"warm_up_epochs: {self.warm_up_epochs:g} of {self.epochs} epochs")
        return self
