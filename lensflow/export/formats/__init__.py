"""Exports on disk: one writer per format, the card, the Croissant description, and the reader of all of them."""
