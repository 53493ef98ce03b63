"""Gates and checks of who was chosen and what was drawn: hosts, priors, splits, tables."""
