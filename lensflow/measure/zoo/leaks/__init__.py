"""The suite of leaks: graded marks put into a sound run, what notices each, and what a classifier reads of the rest."""
