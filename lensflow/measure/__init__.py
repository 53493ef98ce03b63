"""All measurements on pairs, and their judges."""
