"""Survey files in, cutouts out."""

from lensflow.survey.crop import crop

__all__ = ["crop"]
