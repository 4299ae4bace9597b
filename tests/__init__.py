"""Tests of podwall; a package, so that all of them share ``tests.strategies`` and its friends."""
