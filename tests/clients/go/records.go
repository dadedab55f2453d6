package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func init() {
	scenarios["headers"] = headers
	scenarios["null_and_empty"] = nullAndEmpty
	scenarios["create_time_kept"] = createTimeKept
	scenarios["log_append_time"] = logAppendTime
	scenarios["large_records"] = largeRecords
	scenarios["message_too_large"] = messageTooLarge
	scenarios["topic_max_message_bytes"] = topicMaxMessageBytes
}

// Kafka's default message.max.bytes, which counts a whole batch with its 61 bytes of header.
const messageMaxBytes = 1_048_588

// A batch of one record without key and headers is its value and 72 bytes: 61 of batch header, 3 of record
// length, 1 each of attributes, timestamp delta, offset delta, null key and header count, 3 of value length.
const singleRecordOverhead = 72

func headers(r *run) {
	topic := r.topic(1)
	records := []*kgo.Record{
		{Topic: topic, Value: []byte("none")},
		{Topic: topic, Value: []byte("one"), Headers: []kgo.RecordHeader{{Key: "a", Value: []byte("1")}}},
		{Topic: topic, Value: []byte("order and repetition"), Headers: []kgo.RecordHeader{
			{Key: "b", Value: []byte("first")}, {Key: "a", Value: []byte("2")}, {Key: "b", Value: []byte("second")},
		}},
		{Topic: topic, Value: []byte("null and empty"), Headers: []kgo.RecordHeader{
			{Key: "null", Value: nil}, {Key: "empty", Value: []byte{}}, {Key: "", Value: []byte("no name")},
		}},
		{Topic: topic, Value: []byte("bytes"), Headers: []kgo.RecordHeader{
			{Key: "schlüssel-\u20ac", Value: []byte{0, 1, 0xff, 0xfe}}, {Key: "long", Value: randomBytes(5000)},
		}},
	}
	r.produceAll(r.client(), records)
	r.verifyLog(records, r.consume(topic, len(records)))
}

func nullAndEmpty(r *run) {
	topic := r.topic(1)
	records := []*kgo.Record{
		{Topic: topic, Key: nil, Value: []byte("null key")},
		{Topic: topic, Key: []byte{}, Value: []byte("empty key")},
		{Topic: topic, Key: []byte("null value"), Value: nil},
		{Topic: topic, Key: []byte("empty value"), Value: []byte{}},
		{Topic: topic, Key: nil, Value: nil},
		{Topic: topic, Key: []byte{}, Value: []byte{}},
	}
	r.produceAll(r.client(), records)
	r.verifyLog(records, r.consume(topic, len(records)))
}

// createTimeKept uses times out of order and far from now: the broker must not touch them.
func createTimeKept(r *run) {
	topic := r.topic(1)
	var records []*kgo.Record
	now := time.Now()
	for i, age := range []time.Duration{0, 36 * time.Hour, time.Minute, 72 * time.Hour, time.Millisecond} {
		records = append(records, &kgo.Record{Topic: topic, Value: fmt.Appendf(nil, "%d", i), Timestamp: now.Add(-age)})
	}
	r.produceAll(r.client(), records)
	consumed := r.consume(topic, len(records))
	for _, record := range consumed {
		equal("timestamp type", record.Attrs.TimestampType(), int8(0))
	}
	r.verifyLog(records, consumed)
}

func logAppendTime(r *run) {
	topic := r.topicWith(1, map[string]*string{"message.timestamp.type": kadm.StringPtr("LogAppendTime")})
	record := &kgo.Record{Topic: topic, Value: []byte("x"), Timestamp: time.Now().Add(-time.Hour)}
	before := time.Now().UnixMilli()
	r.produceAll(r.client(), []*kgo.Record{record})
	after := time.Now().UnixMilli()
	got := r.consume(topic, 1)[0]
	equal("timestamp type", got.Attrs.TimestampType(), int8(1))
	stored := got.Timestamp.UnixMilli()
	if stored < before || stored > after {
		fail("append time %d is not between %d and %d", stored, before, after)
	}
}

// largeRecords sends single records, one of them exactly of the size that is allowed.
func largeRecords(r *run) {
	topic := r.topic(2)
	records := []*kgo.Record{
		{Topic: topic, Partition: 0, Value: randomBytes(1_000_000)},
		{Topic: topic, Partition: 1, Key: []byte("k"), Value: randomBytes(1_000_000)},
		{Topic: topic, Partition: 0, Value: []byte("small")},
		{Topic: topic, Partition: 0, Value: randomBytes(messageMaxBytes - singleRecordOverhead)},
		{Topic: topic, Partition: 1, Value: randomBytes(1_000_000)},
	}
	cl := r.bigBatchProducer()
	for i := range records {
		r.produceAll(cl, records[i:i+1]) // one by one, or the client would join them to a batch that is too large
	}
	r.verifyLog(records, r.consume(topic, len(records)))
}

func (r *run) bigBatchProducer(opts ...kgo.Opt) *kgo.Client {
	return r.client(append([]kgo.Opt{
		kgo.ProducerBatchMaxBytes(8 << 20),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
	}, opts...)...)
}

func messageTooLarge(r *run) {
	topic := r.topic(1)
	cl := r.bigBatchProducer()
	before := &kgo.Record{Topic: topic, Value: []byte("before")}
	r.produceAll(cl, []*kgo.Record{before})
	for _, excess := range []int{1, 500_000, 3_000_000} {
		value := randomBytes(messageMaxBytes - singleRecordOverhead + excess)
		err := cl.ProduceSync(r.ctx, &kgo.Record{Topic: topic, Value: value}).FirstErr()
		isTrue(fmt.Sprintf("%d bytes too many fail with MESSAGE_TOO_LARGE, not %v", excess, err),
			errors.Is(err, kerr.MessageTooLarge))
	}
	after := &kgo.Record{Topic: topic, Value: []byte("after")}
	r.produceAll(cl, []*kgo.Record{after})
	r.verifyLog([]*kgo.Record{before, after}, r.consume(topic, 2))
}

// topicMaxMessageBytes: a topic's own limit goes before the broker's, in both directions.
func topicMaxMessageBytes(r *run) {
	small := r.topicWith(1, map[string]*string{"max.message.bytes": kadm.StringPtr("10000")})
	large := r.topicWith(1, map[string]*string{"max.message.bytes": kadm.StringPtr("3000000")})
	cl := r.bigBatchProducer()
	err := cl.ProduceSync(r.ctx, &kgo.Record{Topic: small, Value: randomBytes(20_000)}).FirstErr()
	isTrue(fmt.Sprintf("MESSAGE_TOO_LARGE, not %v", err), errors.Is(err, kerr.MessageTooLarge))
	records := []*kgo.Record{{Topic: large, Value: randomBytes(2_500_000)}, {Topic: large, Value: []byte("x")}}
	r.produceAll(cl, records)
	r.verifyLog(records, r.consume(large, len(records)))
}
