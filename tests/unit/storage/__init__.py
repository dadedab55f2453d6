"""Tests of `kafscale.storage`."""
