"""From pairs to training: views of a run, loaders, exports and their check."""
