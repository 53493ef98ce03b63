"""From a run to training data: views, loaders, formats and the check of an export."""
