"""Known faults and graded leaks, and who notices."""
