"""The broker's configuration: what can be set, where it came from, and how it is described.

`sections` declares the settings, `settings` makes one object of them, `loading` collects their values, `values` knows
Kafka's config types, `listeners` the addresses, `files` the two file formats, `reference` the documentation.
"""

from kafscale.config.listeners import Listener
from kafscale.config.loading import Loaded, Origin, Source, load_settings, parse_overrides
from kafscale.config.settings import BrokerSettings, local_path, local_url

__all__ = [
    "BrokerSettings",
    "Listener",
    "Loaded",
    "Origin",
    "Source",
    "load_settings",
    "local_path",
    "local_url",
    "parse_overrides",
]
