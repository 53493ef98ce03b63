"""Survey files in, cutouts out."""
