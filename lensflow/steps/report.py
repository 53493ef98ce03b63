"""Collect what a run left behind and write its report."""
