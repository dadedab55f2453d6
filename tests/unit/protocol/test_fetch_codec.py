"""The hand-written Fetch reply is, byte for byte, what the generic codec writes, and holds records without a copy."""

from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from kafscale.protocol.codec import encode_response
from kafscale.protocol.fetch import SESSION_FROM, TOPIC_ID_FROM, PartitionData, TopicData, encode_fetch_response
from kafscale.protocol.messages import FetchResponse

VERSIONS = st.integers(4, 18)
I16 = st.integers(-(2**15), 2**15 - 1)
I32 = st.integers(-(2**31), 2**31 - 1)
I64 = st.integers(-(2**63), 2**63 - 1)
BATCHES = st.lists(st.binary(min_size=1, max_size=90).map(lambda data: memoryview(data)), max_size=3)
PARTITIONS = st.builds(PartitionData, I32, I16, I64, I64, I64, BATCHES)


@st.composite
def topic_lists(draw: st.DrawFn, version: int) -> list[TopicData]:
    by_id = version >= TOPIC_ID_FROM
    return [
        TopicData(
            "" if by_id else draw(st.text(max_size=140)),
            draw(st.uuids().filter(lambda uuid: uuid.int != 0)).bytes if by_id else b"",
            draw(st.lists(PARTITIONS, max_size=3)),
        )
        for _ in range(draw(st.integers(0, 3)))
    ]


def generic_reply(
    version: int, error_code: int, session_id: int, topics: list[TopicData], *, read_committed: bool
) -> bytearray:
    topic_class = FetchResponse.FetchableTopicResponse
    response = FetchResponse(
        version=version,
        throttle_time_ms=0,
        error_code=error_code,
        session_id=session_id,
        responses=[
            topic_class(
                version=version,
                topic=topic.name,
                topic_id=UUID(bytes=topic.topic_id) if topic.topic_id else None,
                partitions=[
                    topic_class.PartitionData(
                        version=version,
                        partition_index=each.partition,
                        error_code=each.error_code,
                        high_watermark=each.high_watermark,
                        last_stable_offset=each.last_stable_offset,
                        log_start_offset=each.log_start_offset,
                        aborted_transactions=[] if read_committed else None,
                        preferred_read_replica=-1,
                        records=b"".join(each.batches),
                    )
                    for each in topic.partitions
                ],
            )
            for topic in topics
        ],
    )
    return encode_response(response, version)


@settings(max_examples=40)
@given(VERSIONS, I16, I32, st.booleans(), st.data())
def test_replies_are_written_as_the_generic_codec_writes_them(
    version: int, error_code: int, session_id: int, read_committed: bool, data: st.DataObject
) -> None:
    topics = data.draw(topic_lists(version))
    body = encode_fetch_response(version, error_code, session_id, topics, read_committed=read_committed)
    generic = generic_reply(version, error_code, session_id, topics, read_committed=read_committed)
    assert b"".join(body) == generic
    if version < SESSION_FROM:
        assert generic[:4] == bytes(4)


@settings(max_examples=40)
@given(VERSIONS, st.data())
def test_records_are_sent_as_the_views_they_are_kept_in(version: int, data: st.DataObject) -> None:
    topics = data.draw(topic_lists(version))
    body = encode_fetch_response(version, 0, 0, topics, read_committed=False)
    kept = [batch for topic in topics for partition in topic.partitions for batch in partition.batches]
    sent = [chunk for chunk in body if isinstance(chunk, memoryview)]
    assert len(sent) == len(kept)
    assert all(one is other for one, other in zip(sent, kept, strict=True))
    assert all(body)
