"""The few kinds of error this code raises, each named by what its receiver must do.

Nothing here knows Kafka's error codes: `kafscale.protocol.error_codes` does, and the API handlers map one to the
other. A peer's fault (`MalformedRequest`) and a bug of our own (`Bug`) are different types, so that neither can be
mistaken for the other in a log.
"""


class KafScaleError(Exception):
    """Base of every error raised on purpose."""


class ConfigurationError(KafScaleError):
    """A setting is wrong. Correct it; the message names the setting, the value and what is allowed."""


class StartRefused(KafScaleError):
    """The broker must not start on this data. The message names the damaged or locked thing and what to do."""


class MalformedRequest(KafScaleError):
    """The peer sent bytes that are not a request. Close the connection; nobody else is affected."""


class StorageUnavailable(KafScaleError):
    """The object store or the metadata log refused or failed, and nothing was written. Retry later."""


class OutcomeUnknown(KafScaleError):
    """An append may or may not have happened. Repeat it under the same uid until it is decided."""


class ObjectMissing(KafScaleError):
    """The named object does not exist (any more). Resynchronise with the metadata log and plan again."""


class ObjectExists(KafScaleError):
    """An object of that name exists already. Names are never used twice, so this is a second writer."""


class DataCorrupt(KafScaleError):
    """Stored bytes are not what was written. Serve everything else; do not retry this."""


class FatalLogFailure(KafScaleError):
    """The metadata log can no longer be trusted in this process. Stop the process and start it again."""


class Bug(KafScaleError):
    """An internal rule was broken. Stop loudly; going on could damage data."""
