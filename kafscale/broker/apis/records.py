"""DeleteRecords (21), versions 0-2.

KIP-107. Offset -1 is the high watermark. What a partition does not hold is OFFSET_OUT_OF_RANGE, an offset below its log
start is a success that changes nothing. A topic without `delete` in its `cleanup.policy` is POLICY_VIOLATION. The
timeout is not needed: the answer comes with the log entry, there are no followers to wait for.
"""

from itertools import batched_or_islice
