"""Tests of `kafscale.metadata`."""
