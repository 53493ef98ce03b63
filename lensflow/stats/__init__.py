"""Statistics that know nothing of lenses: sums by host and their bootstrap, areas, logistic regression."""
