"""The compiled renderer; reached through :mod:`lensflow.lensing` only."""
