"""Policies proposed from the connections that were seen."""
