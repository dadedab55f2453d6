"""Listener addresses as Kafka writes them: `NAME://host:port`, several separated by commas.

A listener's name stands for a security protocol, by `listener.security.protocol.map`. Only PLAINTEXT is served so far;
another protocol is refused here rather than served without its protection.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

SECURITY_PROTOCOLS: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
SUPPORTED_PROTOCOLS: Final = ("PLAINTEXT",)

# A host in brackets is an IPv6 address; no host at all means every address of the machine.
_LISTENER: Final = re.compile(r"([A-Za-z0-9_]+)://(?:\[([0-9a-fA-F:.%]+)\]|([^\[\]:/]*)):([0-9]{1,5})")
_WILDCARD_HOSTS: Final = ("", "0.0.0.0", "::")  # noqa: S104 - recognised, in order to refuse advertising them
_PORT_MAX: Final = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """One address. An empty `host` is every address of the machine, `port` 0 one the system picks."""

    name: str
    host: str
    port: int
    protocol: str

    @property
    def is_wildcard(self) -> bool:
        """Whether this address means every address of the machine, and so tells a client nothing."""
        return self.host in _WILDCARD_HOSTS

    @property
    def address(self) -> str:
        """The address as `host:port`, an IPv6 host in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.name}://{self.address}"


def parse_protocol_map(text: str) -> dict[str, str]:
    """Return listener name -> security protocol from `NAME:PROTOCOL,...`; raises ValueError."""
    protocols: dict[str, str] = {}
    for pair in text.split(","):
        name, _, protocol = (part.strip().upper() for part in pair.partition(":"))
        if not name or protocol not in SECURITY_PROTOCOLS:
            raise ValueError(f"{pair!r} is not NAME:PROTOCOL with one of {', '.join(SECURITY_PROTOCOLS)}")
        protocols[name] = protocol
    return protocols


def parse_listeners(text: str, protocols: Mapping[str, str]) -> tuple[Listener, ...]:
    """Return the listeners of a comma-separated list, in order; raises ValueError naming the one that is wrong."""
    listeners = tuple(_parse_listener(part.strip(), protocols) for part in text.split(","))
    names = [listener.name for listener in listeners]
    if len(set(names)) < len(names):
        raise ValueError("each listener needs a name of its own")
    return listeners


def _parse_listener(text: str, protocols: Mapping[str, str]) -> Listener:
    match = _LISTENER.fullmatch(text)
    if match is None or int(match[4]) > _PORT_MAX:
        raise ValueError(f"{text!r} is not NAME://host:port")
    name = match[1].upper()
    if name not in protocols:
        raise ValueError(f"listener.security.protocol.map does not say which protocol {name} is")
    if protocols[name] not in SUPPORTED_PROTOCOLS:
        raise ValueError(f"{name} is {protocols[name]}: only {', '.join(SUPPORTED_PROTOCOLS)} is served so far")
    return Listener(name=name, host=match[2] or match[3] or "", port=int(match[4]), protocol=protocols[name])


def check_addresses(listeners: Sequence[Listener]) -> None:
    """Refuse two listeners on one port of one host; raises ValueError."""
    bound = [(listener.host, listener.port) for listener in listeners if listener.port]
    if len(set(bound)) < len(bound):
        raise ValueError("each listener needs a port of its own")


def check_advertised(advertised: Sequence[Listener], listeners: Sequence[Listener]) -> None:
    """Refuse advertised addresses a client cannot connect to or that nothing listens on; raises ValueError."""
    names = {listener.name for listener in listeners}
    for listener in advertised:
        if listener.is_wildcard:
            raise ValueError(f"clients cannot connect to {listener}: set advertised.listeners to an address they reach")
        if listener.name not in names:
            raise ValueError(f"{listener} is advertised, but listeners has no {listener.name}")
