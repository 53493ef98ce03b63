"""Open runs as training views, hand their samples to loaders, and write exports."""
