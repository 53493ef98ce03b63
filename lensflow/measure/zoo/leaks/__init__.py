"""The suite of leaks: graded leaks in a sound run, what detects each, and what a classifier reads of the rest."""
