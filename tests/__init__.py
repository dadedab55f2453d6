"""Every test of the broker: see CONTRIBUTING.md for what lives in which folder."""
