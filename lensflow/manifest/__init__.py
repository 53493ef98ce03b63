"""Targets in, frozen manifest out: all random numbers are drawn here."""
