"""Targets in, frozen manifest out: everything random is drawn here."""
