"""Gates and checks of the selection and the draws: hosts, priors, splits, tables."""
