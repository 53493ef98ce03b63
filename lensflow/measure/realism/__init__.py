"""Real lenses against injections, and sweeps in which one factor changes: arrays in, numbers out."""
