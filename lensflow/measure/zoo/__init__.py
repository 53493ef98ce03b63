"""Known faults and graded leaks, and what detects them."""
