"""Stamps without the light of the lens galaxy: what is left is taken from the stamp alone, for either class alike."""

from lensflow.measure.lens_light.subtract import LIGHT, Light, subtract, without_light

__all__ = ["LIGHT", "Light", "subtract", "without_light"]
