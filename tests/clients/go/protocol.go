package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

func init() {
	scenarios["fetch_by_topic_id"] = fetchByTopicID
	scenarios["fetch_unknown_topic_id"] = fetchUnknownTopicID
	scenarios["fetch_offset_out_of_range"] = fetchOffsetOutOfRange
	scenarios["api_versions_downgrade"] = apiVersionsDowngrade
	scenarios["client_of_kafka_2_1"] = func(r *run) { oldClient(r, kversion.V2_1_0()) }
	scenarios["client_of_kafka_2_4"] = func(r *run) { oldClient(r, kversion.V2_4_0()) }
	scenarios["client_of_kafka_2_8"] = func(r *run) { oldClient(r, kversion.V2_8_0()) }
	scenarios["client_of_kafka_3_5"] = func(r *run) { oldClient(r, kversion.V3_5_0()) }
	scenarios["client_of_kafka_3_9"] = func(r *run) { oldClient(r, kversion.V3_9_0()) }
	scenarios["client_of_kafka_4_0"] = func(r *run) { oldClient(r, kversion.V4_0_0()) }
}

// rawFetch asks for one partition from an offset, by id from v13 on and by name before.
func rawFetch(topic string, id [16]byte, partition int32, offset int64) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.ReplicaID = 1000, 1, 1<<20, -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID = topic, id
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = partition, offset, 1<<20
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

func fetchByTopicID(r *run) {
	topic := r.topic(1)
	r.produceAll(r.client(), keyed(topic, 10, 2))
	id := must(r.admin().ListTopics(r.ctx, topic))[topic].ID
	resp := r.request(r.client(), rawFetch(topic, id, 0, 0)).(*kmsg.FetchResponse)
	equal("fetch version", resp.GetVersion(), int16(18))
	check(kerr.ErrorForCode(resp.ErrorCode))
	equal("topics", len(resp.Topics), 1)
	equal("topic id", resp.Topics[0].TopicID, [16]byte(id))
	partition := resp.Topics[0].Partitions[0]
	check(kerr.ErrorForCode(partition.ErrorCode))
	equal("high watermark", partition.HighWatermark, int64(10))
	equal("last stable offset", partition.LastStableOffset, int64(10))
	equal("log start", partition.LogStartOffset, int64(0))
	isTrue("there are records", len(partition.RecordBatches) > 61)
	equal("base offset of the first batch", binary.BigEndian.Uint64(partition.RecordBatches), uint64(0))
	equal("magic", partition.RecordBatches[16], byte(2))
}

func fetchUnknownTopicID(r *run) {
	topic := r.topic(1)
	var unknown [16]byte
	copy(unknown[:], randomBytes(16))
	resp := r.request(r.client(), rawFetch(topic, unknown, 0, 0)).(*kmsg.FetchResponse)
	err := kerr.ErrorForCode(resp.ErrorCode)
	if err == nil {
		equal("topics", len(resp.Topics), 1)
		equal("topic id", resp.Topics[0].TopicID, unknown)
		err = kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
	}
	isTrue(fmt.Sprintf("UNKNOWN_TOPIC_ID, not %v", err), errors.Is(err, kerr.UnknownTopicID))
	old := r.client(kgo.MaxVersions(kversion.V2_8_0()))
	resp = r.request(old, rawFetch(r.unique("missing"), unknown, 0, 0)).(*kmsg.FetchResponse)
	isTrue("asked by name", resp.GetVersion() < 13)
	err = kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
	isTrue(fmt.Sprintf("UNKNOWN_TOPIC_OR_PARTITION, not %v", err), errors.Is(err, kerr.UnknownTopicOrPartition))
}

func fetchOffsetOutOfRange(r *run) {
	topic := r.topic(1)
	r.produceAll(r.client(), keyed(topic, 10, 2))
	id := must(r.admin().ListTopics(r.ctx, topic))[topic].ID
	cl := r.client()
	for offset, want := range map[int64]error{10: nil, 11: kerr.OffsetOutOfRange, -1: kerr.OffsetOutOfRange} {
		resp := r.request(cl, rawFetch(topic, id, 0, offset)).(*kmsg.FetchResponse)
		partition := resp.Topics[0].Partitions[0]
		err := kerr.ErrorForCode(partition.ErrorCode)
		isTrue(fmt.Sprintf("offset %d: %v, not %v", offset, want, err), errors.Is(err, want))
		equal("no records", len(partition.RecordBatches), 0)
	}
	reader := r.client(from(topic, 0, kgo.NewOffset().At(500)), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	equal("offset after the reset", r.poll(reader, 10)[0].Offset, int64(0))
}

// apiVersionsDowngrade speaks a version nobody knows: the answer is v0 with UNSUPPORTED_VERSION and the list
// of versions, and the connection stays open (KIP-511).
func apiVersionsDowngrade(r *run) {
	conn := must((&net.Dialer{}).DialContext(r.ctx, "tcp", r.bootstrap))
	defer func() { _ = conn.Close() }()
	check(conn.SetDeadline(time.Now().Add(10 * time.Second)))
	formatter := kmsg.NewRequestFormatter(kmsg.FormatterClientID("downgrade"))
	request := kmsg.NewPtrApiVersionsRequest()
	request.ClientSoftwareName, request.ClientSoftwareVersion = "franz-go-scenarios", "1"

	request.SetVersion(4)
	frame := formatter.AppendRequest(nil, request, 7)
	binary.BigEndian.PutUint16(frame[6:], 120)
	refused := kmsg.NewPtrApiVersionsResponse()
	check(refused.ReadFrom(exchange(conn, frame, 7)))
	equal("error", kerr.ErrorForCode(refused.ErrorCode), error(kerr.UnsupportedVersion))
	isTrue("the answer lists ApiVersions itself", maxVersion(refused, 18) >= 4)

	accepted := kmsg.NewPtrApiVersionsResponse()
	accepted.SetVersion(4)
	check(accepted.ReadFrom(exchange(conn, formatter.AppendRequest(nil, request, 8), 8)))
	check(kerr.ErrorForCode(accepted.ErrorCode))
	isTrue("Fetch by topic id is on offer", maxVersion(accepted, 1) >= 13)
	isTrue("Produce is on offer", maxVersion(accepted, 0) >= 9)
}

// exchange sends a frame and returns the body of the answer, which has the plain v0 header.
func exchange(conn net.Conn, frame []byte, correlation uint32) []byte {
	must(conn.Write(frame))
	size := make([]byte, 4)
	must(io.ReadFull(conn, size))
	body := make([]byte, binary.BigEndian.Uint32(size))
	must(io.ReadFull(conn, body))
	equal("correlation id", binary.BigEndian.Uint32(body), correlation)
	return body[4:]
}

// maxVersion is -1 for a key that is not listed.
func maxVersion(response *kmsg.ApiVersionsResponse, key int16) int16 {
	for _, api := range response.ApiKeys {
		if api.ApiKey == key {
			return api.MaxVersion
		}
	}
	return -1
}

// oldClient holds the client to the request versions of an older Kafka: the round trip and a group still work.
func oldClient(r *run, versions *kversion.Versions) {
	topic, group := r.topic(3), r.unique("group")
	records := keyed(topic, 300, 30)
	r.produceAll(r.client(kgo.MaxVersions(versions)), records)
	r.verifyLog(records, r.consume(topic, len(records), kgo.MaxVersions(versions)))
	member := r.client(kgo.MaxVersions(versions), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic))
	r.verifyLog(records, r.poll(member, len(records)))
	check(member.CommitUncommittedOffsets(r.ctx))
	member.Close()
	fetched := must(r.admin().FetchOffsets(r.ctx, group))
	ends := must(r.admin().ListEndOffsets(r.ctx, topic))
	for partition, end := range ends[topic] {
		equal(fmt.Sprintf("committed in %d", partition), fetched[topic][partition].At, end.Offset)
	}
}
