"""This broker as clients see it: its id, its cluster, and the address each listener advertises."""

from collections.abc import Mapping

from kafscale.broker.request import RequestContext


class Node:
    """Identity and addresses of one broker. `advertised` maps a listener's name to (host, port)."""

    __slots__ = ("addresses", "cluster_id", "node_id")

    def __init__(self, node_id: int, cluster_id: str) -> None:
        self.node_id = node_id
        self.cluster_id = cluster_id
        self.addresses: dict[str, tuple[str, int]] = {}

    def advertise(self, addresses: Mapping[str, tuple[str, int]]) -> None:
        """Set the advertised addresses, once the listeners know their ports."""
        self.addresses = dict(addresses)

    def advertised_address(self, context: RequestContext) -> tuple[str, int]:
        """Return host and port that a client of this connection is told; its own listener's, or else the first."""
        address = self.addresses.get(context.listener_name)
        return address if address is not None else next(iter(self.addresses.values()))
