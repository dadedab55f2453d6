"""What holds for every unit test: Hypothesis draws the same examples in each run, and a slow machine is no failure."""

from hypothesis import settings

settings.register_profile("unit", deadline=None, derandomize=True)
settings.load_profile("unit")
