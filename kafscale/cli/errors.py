"""What a command raises when it cannot do what it was asked to."""

from kafscale.errors import KafScaleError


class CommandError(KafScaleError):
    """The command failed. The message is one line for a person: what, and why."""
