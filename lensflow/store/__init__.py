"""The only place that writes zarr: create, regions, receipts, open, resume."""
