"""The classic group coordinator: who is in a consumer group, in which generation, with which assignment.

What it follows is Apache Kafka 4.1's coordinator (ClassicGroup, GroupMetadataManager, OffsetMetadataManager), with one
difference in where things are kept. Kafka writes membership to a partition that has one leader; here any broker may
believe to be a group's coordinator, and the metadata log decides. So there are two halves:

- **durable** (`kafscale.metadata.state.groups`): the members of the last *completed* rebalance, with their assignments,
  and the committed offsets. It changes only by entries: a completed rebalance, a static member's swap, becoming Empty,
  a commit. Each membership entry names the revision it follows; a second coordinator's entry is rejected.
- **memory** (here): who is joining right now, parked requests, session timers. It can be lost at any moment, and is
  rebuilt from the durable half in state Stable, with fresh sessions: a restart is not a rebalance.

The rules that keep the two honest:

1. A reply that hands out an assignment leaves after the entry with that assignment was applied. JoinGroup's replies
   hand out only a generation number, and leave before: as in Kafka, a generation nobody synced may be given again.
2. Membership entries of one group are written one after the other, under `ClassicGroup.write_lock`, and are built only
   when their turn comes, so that each tells what is true then; one that has become moot is not written.
3. After GROUP_CHANGED, or when the state's revision is not the one memory follows, memory is dropped, parked requests
   are answered NOT_COORDINATOR, and the next request starts from the state again.
4. When an entry certainly was not written, the clients get a retriable error, and the group prepares another rebalance.
5. Nothing that must finish runs in a request's task, which dies with its connection.
6. Nobody is parked for ever: every parked request is answered by a rebalance, an expiry, a removal, or the drop.

One room each: `group` and `member` the data and rules of one group without I/O, `phases` its state table, `rebalance`
what moves it (and all timers), `joins` JoinGroup, `syncs` SyncGroup and the write behind it, `journal` the entries,
`commits` offset commits, `expiry` what is forgotten, `views` what admin requests see, `coordinator` the face of it all.

Not done yet: which broker owns a group (every broker answers for every group), KIP-848 and share groups.
"""

from kafscale.broker.groups.coordinator import GroupCoordinator
from kafscale.broker.groups.services import GroupApiServices, GroupServices

__all__ = ["GroupApiServices", "GroupCoordinator", "GroupServices"]
