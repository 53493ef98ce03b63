"""The compiled renderer; reached through :mod:`lensflow.lensing` only. README.md here says how it works."""
