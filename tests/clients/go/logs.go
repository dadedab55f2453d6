package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// consumeTimeout is how long a consumer may take for records that are known to be in the log.
const consumeTimeout = 30 * time.Second

// produceAll sends the records in order and waits; each record then carries its partition and offset.
func (r *run) produceAll(cl *kgo.Client, records []*kgo.Record) {
	check(cl.ProduceSync(r.ctx, records...).FirstErr())
}

// consume reads the topic from its start until it has n records.
func (r *run) consume(topic string, n int, opts ...kgo.Opt) []*kgo.Record {
	cl := r.client(append([]kgo.Opt{kgo.ConsumeTopics(topic)}, opts...)...)
	defer cl.Close()
	return r.poll(cl, n)
}

// poll reads exactly n records; one more than asked for is a failure.
func (r *run) poll(cl *kgo.Client, n int) []*kgo.Record {
	ctx, cancel := context.WithTimeout(r.ctx, consumeTimeout)
	defer cancel()
	var records []*kgo.Record
	for len(records) < n {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			fail("consumed %d of %d records in %s", len(records), n, consumeTimeout)
		}
		for _, e := range fetches.Errors() {
			fail("fetch %s[%d]: %v", e.Topic, e.Partition, e.Err)
		}
		records = append(records, fetches.Records()...)
	}
	equal("records consumed", len(records), n)
	return records
}

// quiet says that nothing more arrives for a moment.
func (r *run) quiet(cl *kgo.Client, moment time.Duration) {
	ctx, cancel := context.WithTimeout(r.ctx, moment)
	defer cancel()
	for ctx.Err() == nil {
		for _, record := range cl.PollFetches(ctx).Records() {
			fail("unexpected record %s[%d]@%d", record.Topic, record.Partition, record.Offset)
		}
	}
}

// keyed makes n records that say their own place in the order, over `keys` different keys.
func keyed(topic string, n, keys int) []*kgo.Record {
	records := make([]*kgo.Record, n)
	for i := range records {
		records[i] = &kgo.Record{
			Topic:   topic,
			Key:     fmt.Appendf(nil, "key-%d", i%keys),
			Value:   fmt.Appendf(nil, "value-%06d of %s", i, topic),
			Headers: []kgo.RecordHeader{{Key: "index", Value: fmt.Appendf(nil, "%d", i)}},
		}
	}
	return records
}

type place struct {
	topic     string
	partition int32
	offset    int64
}

func placeOf(r *kgo.Record) place { return place{r.Topic, r.Partition, r.Offset} }

// verifyLog says that what was consumed is what was produced: content at each offset, order and density.
func (r *run) verifyLog(produced, consumed []*kgo.Record) {
	equal("record count", len(consumed), len(produced))
	want := make(map[place]*kgo.Record, len(produced))
	for _, p := range produced {
		if other, taken := want[placeOf(p)]; taken {
			fail("two records were acknowledged at %v: %q and %q", placeOf(p), other.Value, p.Value)
		}
		want[placeOf(p)] = p
	}
	next := map[string]int64{}
	for _, got := range consumed {
		partition := fmt.Sprintf("%s[%d]", got.Topic, got.Partition)
		equal("next offset of "+partition, got.Offset, next[partition])
		next[partition]++
		produced, known := want[placeOf(got)]
		if !known {
			fail("nobody produced %v", placeOf(got))
		}
		sameRecord(got, produced)
	}
	verifyOrder(produced)
	r.verifyEnds(consumed)
}

// verifyOrder says that offsets follow the order of sending within each partition.
func verifyOrder(produced []*kgo.Record) {
	last := map[string]int64{}
	for _, p := range produced {
		partition := fmt.Sprintf("%s[%d]", p.Topic, p.Partition)
		if before, seen := last[partition]; seen && p.Offset != before+1 {
			fail("%s: sent after offset %d, stored at %d", partition, before, p.Offset)
		}
		last[partition] = p.Offset
	}
}

// verifyEnds says that each log ends behind its last consumed record.
func (r *run) verifyEnds(consumed []*kgo.Record) {
	ends := map[string]map[int32]int64{}
	for _, c := range consumed {
		if ends[c.Topic] == nil {
			ends[c.Topic] = map[int32]int64{}
		}
		ends[c.Topic][c.Partition] = c.Offset + 1
	}
	admin := r.admin()
	for topic, partitions := range ends {
		listed := must(admin.ListEndOffsets(r.ctx, topic))
		for partition, end := range partitions {
			equal(fmt.Sprintf("end of %s[%d]", topic, partition), listed[topic][partition].Offset, end)
		}
	}
}

func sameRecord(got, want *kgo.Record) {
	at := fmt.Sprintf("%s[%d]@%d", got.Topic, got.Partition, got.Offset)
	sameBytes("key of "+at, got.Key, want.Key)
	sameBytes("value of "+at, got.Value, want.Value)
	equal("timestamp of "+at, got.Timestamp.UnixMilli(), want.Timestamp.UnixMilli())
	equal("headers of "+at, len(got.Headers), len(want.Headers))
	for i, header := range got.Headers {
		equal("header key of "+at, header.Key, want.Headers[i].Key)
		sameBytes("header "+header.Key+" of "+at, header.Value, want.Headers[i].Value)
	}
}

// sameBytes tells null from empty.
func sameBytes(what string, got, want []byte) {
	if (got == nil) != (want == nil) || !bytes.Equal(got, want) {
		fail("%s: got %s (null %t), want %s (null %t)", what, short(got), got == nil, short(want), want == nil)
	}
}

func withOffset(records []*kgo.Record, offset int64) *kgo.Record {
	for _, record := range records {
		if record.Offset == offset {
			return record
		}
	}
	fail("no record at offset %d", offset)
	return nil
}
