"""The selection function as a table of many dimensions: evaluated at points, stored, smoothed."""
