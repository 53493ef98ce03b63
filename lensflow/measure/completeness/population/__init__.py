"""Other populations: the injected prior as densities, targets, weights, the published set of injections."""
