"""Deterministic simulation: the real broker code on a virtual clock, a simulated network, disk and object store."""
