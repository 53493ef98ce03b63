"""The ten checks of an export, which read what was written as a stranger would."""
