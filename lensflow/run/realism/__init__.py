"""A run held against real lenses."""
