"""The table of error codes."""

from kafscale.protocol.error_codes import RETRIABLE, ErrorCode


def test_codes_are_dense_from_minus_one() -> None:
    assert [code.value for code in ErrorCode] == list(range(-1, 134))


def test_codes_that_clients_compare_with_literals() -> None:
    assert ErrorCode(3) is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert ErrorCode(35) is ErrorCode.UNSUPPORTED_VERSION
    assert ErrorCode(45) is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert ErrorCode(79) is ErrorCode.MEMBER_ID_REQUIRED
    assert ErrorCode(100) is ErrorCode.UNKNOWN_TOPIC_ID


def test_retriable_codes() -> None:
    assert {ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.REQUEST_TIMED_OUT, ErrorCode.UNKNOWN_TOPIC_ID} <= RETRIABLE
    assert not RETRIABLE & {
        ErrorCode.NONE,
        ErrorCode.UNKNOWN_SERVER_ERROR,
        ErrorCode.MESSAGE_TOO_LARGE,
        ErrorCode.REBALANCE_IN_PROGRESS,
        ErrorCode.UNKNOWN_PRODUCER_ID,
    }
