"""Hand samples to a training: exact epochs over whole shards, batches in numpy or torch."""
