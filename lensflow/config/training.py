"""Settings of the training: the network, its loss, the order of the samples, and what its scores must pass."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StrictBool, field_validator, model_validator

from lensflow.config.base import Fraction, Positive
from lensflow.config.export import LoaderConfig
from lensflow.config.place import INPUT
from lensflow.errors import did_you_mean

MODELS = {
    "resnet18": "ResNet-18 (He et al. 2016), 11 million parameters, for a GPU",
    "tiny": "three convolutions, about 24,000 parameters, for tests and a CPU",
}
# What a network may read beside the pixels -> variable of the cutouts (host, band). Each must be the host's own, so
# that a stamp and its control share it.
FEATURES = {"psf_fwhm": "psfsize_arcsec"}


class TrainingConfig(LoaderConfig):
    """The reference training (``lensflow train``), and how a loader hands out its samples."""

    model: str = Field(
        "resnet18",
        description="; ".join(f"{k}: {v}" for k, v in MODELS.items())
        + "; or package.module:callable, which gets the number of channels (with features also their number) and "
        "returns a torch.nn.Module",
    )
    features: tuple[str, ...] = Field(
        (),
        description="what the network reads beside the pixels; only psf_fwhm (the host's PSF size in each band, "
        "arcsec), and only where the run's gate metadata_all says PASS (docs/training.md)",
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
    precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="of the products while training: float32 (on a GPU convolutions round to TF32, as torch has it), "
        "or bfloat16 where that is safe (torch.autocast); scores are float32 always",
    )
    keep_mb: float = Field(
        4000, ge=0, description="MB of normalised samples that stay in memory between epochs (0: all are read again)"
    )
    learning_rate: Positive = Field(1e-3, description="of AdamW; cosine to 0 after the warm-up")
    weight_decay: float = Field(1e-4, ge=0, description="of AdamW")
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
    max_bad_pixel_frac: Fraction = Field(0.2, description="hosts with a larger share of bad pixels are left out")
    max_auc_gap: Fraction = Field(0.03, description="train_val_gap passes if train's AUC is at most this above val's")
    max_unexplained_core: float = Field(
        0.6,
        gt=0.5,
        le=1,
        description="core_unexplained passes if no larger share of stamps (no smaller than 1 minus it) scores above "
        "itself with the core that control and rendered arc make",
    )
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

    @field_validator("features")
    @classmethod
    def _are_of_the_host(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in FEATURES:
                raise ValueError(
                    f"{name!r} is not admitted beside the pixels: a row's own columns (snr, theta_E, fluxes, ...) "
                    f"can tell the class, and a search does not have them.{did_you_mean(name, FEATURES)} Only "
                    f"{', '.join(FEATURES)}, which a stamp and its control share"
                )
        if len(set(value)) < len(value):
            raise ValueError("a feature is named twice")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.aux != "none" and self.order != "together":
            raise ValueError(f"aux: {self.aux} compares a stamp with its control: set order: together")
        if self.warm_up_epochs > self.epochs:
            raise ValueError(f"warm_up_epochs: {self.warm_up_epochs:g} of {self.epochs} epochs")
        return self
