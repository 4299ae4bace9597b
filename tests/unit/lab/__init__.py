"""Unit tests of the lab: all that needs no kernel."""
