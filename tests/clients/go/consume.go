package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func init() {
	scenarios["consume_from_start"] = func(r *run) { consumeFrom(r, kgo.NewOffset().AtStart(), 0) }
	scenarios["consume_from_offset"] = func(r *run) { consumeFrom(r, kgo.NewOffset().At(37), 37) }
	scenarios["consume_relative_to_end"] = func(r *run) { consumeFrom(r, kgo.NewOffset().AtEnd().Relative(-5), 95) }
	scenarios["consume_from_end"] = consumeFromEnd
	scenarios["consume_by_timestamp"] = consumeByTimestamp
	scenarios["list_offsets"] = listOffsets
	scenarios["fetch_session_partitions_change"] = fetchSessionPartitionsChange
	scenarios["fetch_many_topics"] = fetchManyTopics
	scenarios["read_committed_plain_data"] = readCommittedPlainData
	scenarios["small_fetches"] = smallFetches
	scenarios["tail_latency"] = tailLatency
}

// shortWait keeps a fetch that is already waiting from holding up one for partitions added later.
var shortWait = kgo.FetchMaxWait(300 * time.Millisecond)

func from(topic string, partition int32, offset kgo.Offset) kgo.Opt {
	return kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: offset}})
}

// consumeFrom writes 100 records in batches of 10 and reads from the first expected one to the end.
func consumeFrom(r *run, offset kgo.Offset, first int) {
	topic := r.topic(1)
	records := r.produceInTens(topic)
	cl := r.client(from(topic, 0, offset))
	for i, got := range r.poll(cl, len(records)-first) {
		equal("offset", got.Offset, int64(first+i))
		sameRecord(got, records[first+i])
	}
	r.quiet(cl, 300*time.Millisecond)
}

func (r *run) produceInTens(topic string) []*kgo.Record {
	records, cl := keyed(topic, 100, 10), r.client()
	for i := 0; i < len(records); i += 10 {
		r.produceAll(cl, records[i:i+10])
	}
	return records
}

func consumeFromEnd(r *run) {
	topic := r.topic(1)
	r.produceInTens(topic)
	cl := r.client(from(topic, 0, kgo.NewOffset().AtEnd()))
	r.quiet(cl, time.Second)
	later := keyed(topic, 20, 5)
	r.produceAll(r.client(), later)
	for i, got := range r.poll(cl, len(later)) {
		equal("offset", got.Offset, int64(100+i))
		sameRecord(got, later[i])
	}
}

// timed writes 40 records one second apart, in batches of 8, so that a time lies inside a batch.
func (r *run) timed(topic string) (records []*kgo.Record, base time.Time) {
	base = time.UnixMilli(time.Now().UnixMilli()).Add(-time.Hour)
	records = keyed(topic, 40, 4)
	cl := r.client()
	for i := 0; i < len(records); i += 8 {
		for j := i; j < i+8; j++ {
			records[j].Timestamp = base.Add(time.Duration(j) * time.Second)
		}
		r.produceAll(cl, records[i:i+8])
	}
	return records, base
}

func consumeByTimestamp(r *run) {
	topic := r.topic(1)
	records, base := r.timed(topic)
	for _, c := range []struct {
		after time.Duration
		first int
	}{
		{-time.Hour, 0}, {0, 0}, {13 * time.Second, 13}, {13*time.Second + time.Millisecond, 14},
		{16 * time.Second, 16}, {39 * time.Second, 39},
	} {
		cl := r.client(from(topic, 0, kgo.NewOffset().AfterMilli(base.Add(c.after).UnixMilli())))
		for i, got := range r.poll(cl, len(records)-c.first) {
			equal(fmt.Sprintf("offset after %s", c.after), got.Offset, int64(c.first+i))
			sameRecord(got, records[c.first+i])
		}
		cl.Close()
	}
}

func listOffsets(r *run) {
	topic := r.topic(1)
	admin := r.admin()
	empty := must(admin.ListMaxTimestampOffsets(r.ctx, topic))[topic][0]
	equal("offset of the greatest time, empty log", empty.Offset, int64(-1))
	equal("end of an empty log", must(admin.ListEndOffsets(r.ctx, topic))[topic][0].Offset, int64(0))
	records, base := r.timed(topic)
	late := &kgo.Record{Topic: topic, Value: []byte("older than the one before"), Timestamp: base}
	r.produceAll(r.client(), []*kgo.Record{late})

	start := must(admin.ListStartOffsets(r.ctx, topic))[topic][0]
	equal("earliest", start.Offset, int64(0))
	end := must(admin.ListEndOffsets(r.ctx, topic))[topic][0]
	equal("latest", end.Offset, int64(41))
	greatest := must(admin.ListMaxTimestampOffsets(r.ctx, topic))[topic][0]
	equal("offset of the greatest time", greatest.Offset, int64(39))
	equal("greatest time", greatest.Timestamp, records[39].Timestamp.UnixMilli())
	exact := must(admin.ListOffsetsAfterMilli(r.ctx, base.Add(21*time.Second).UnixMilli(), topic))[topic][0]
	equal("offset at an exact time", exact.Offset, int64(21))
	equal("time at that offset", exact.Timestamp, records[21].Timestamp.UnixMilli())
	between := must(admin.ListOffsetsAfterMilli(r.ctx, base.Add(21*time.Second+1).UnixMilli()+1, topic))[topic][0]
	equal("offset just after it", between.Offset, int64(22))
	// kadm turns the broker's -1 for "no such time" into the end of the log.
	beyond := must(admin.ListOffsetsAfterMilli(r.ctx, base.Add(time.Minute).UnixMilli(), topic))[topic][0]
	equal("offset behind all times", beyond.Offset, int64(41))
	committed := must(admin.ListCommittedOffsets(r.ctx, topic))[topic][0]
	equal("last stable offset", committed.Offset, int64(41))
}

// fetchSessionPartitionsChange adds and removes partitions under one incremental fetch session (KIP-227).
func fetchSessionPartitionsChange(r *run) {
	topic := r.topic(6)
	producer := r.client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	start := kgo.NewOffset().AtStart()
	cl := r.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: start, 1: start}}), shortWait)
	round := func(consumed ...int32) {
		records := inEachPartition(topic, 6, 10)
		r.produceAll(producer, records)
		r.expectOnly(cl, records, consumed)
	}
	round(0, 1)
	end := kgo.NewOffset().AtEnd()
	cl.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: {2: kgo.NewOffset().At(10), 3: kgo.NewOffset().At(10)}})
	round(0, 1, 2, 3)
	cl.RemoveConsumePartitions(map[string][]int32{topic: {0, 2}})
	round(1, 3)
	round(1, 3)
	r.quiet(cl, 300*time.Millisecond)
	cl.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: end, 5: end}})
	r.quiet(cl, 700*time.Millisecond)
	round(0, 1, 3, 5)
	cl.PauseFetchPartitions(map[string][]int32{topic: {1}})
	round(0, 3, 5)
	cl.ResumeFetchPartitions(map[string][]int32{topic: {1}})
	for _, got := range r.poll(cl, 10) {
		equal("partition resumed", got.Partition, int32(1))
	}
}

// expectOnly consumes those of the records that lie in the given partitions, and nothing else.
func (r *run) expectOnly(cl *kgo.Client, records []*kgo.Record, partitions []int32) {
	wanted := map[int32]bool{}
	for _, partition := range partitions {
		wanted[partition] = true
	}
	expected := map[int32][]*kgo.Record{}
	total := 0
	for _, record := range records {
		if wanted[record.Partition] {
			expected[record.Partition] = append(expected[record.Partition], record)
			total++
		}
	}
	for _, got := range r.poll(cl, total) {
		queue := expected[got.Partition]
		isTrue(fmt.Sprintf("partition %d is consumed", got.Partition), len(queue) > 0)
		equal(fmt.Sprintf("offset in %d", got.Partition), got.Offset, queue[0].Offset)
		sameRecord(got, queue[0])
		expected[got.Partition] = queue[1:]
	}
}

// fetchManyTopics adds topics to a running consumer, one after another.
func fetchManyTopics(r *run) {
	first := r.topic(2)
	cl := r.client(kgo.ConsumeTopics(first), shortWait)
	var produced, consumed []*kgo.Record
	for _, topic := range []string{first, r.topic(1), r.topic(3)} {
		cl.AddConsumeTopics(topic)
		records := keyed(topic, 90, 9)
		r.produceAll(r.client(), records)
		produced = append(produced, records...)
		consumed = append(consumed, r.poll(cl, len(records))...)
	}
	r.verifyLog(produced, consumed)
}

func readCommittedPlainData(r *run) {
	topic := r.topic(3)
	records := keyed(topic, 600, 60)
	r.produceAll(r.client(), records)
	r.verifyLog(records, r.consume(topic, len(records), kgo.FetchIsolationLevel(kgo.ReadCommitted())))
}

// smallFetches allows less than one batch per answer: the broker still has to make progress (KIP-74).
func smallFetches(r *run) {
	topic := r.topic(3)
	records := make([]*kgo.Record, 60)
	for i := range records {
		records[i] = &kgo.Record{Topic: topic, Partition: int32(i % 3), Value: randomBytes(20_000)}
	}
	cl := r.client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(50_000))
	r.produceAll(cl, records)
	r.verifyLog(records, r.consume(topic, len(records), kgo.FetchMaxBytes(1000), kgo.FetchMaxPartitionBytes(500)))
}

// tailLatency: a waiting fetch is answered when a record arrives, not when its wait is over.
func tailLatency(r *run) {
	topic := r.topic(1)
	producer := r.client()
	cl := r.client(kgo.ConsumeTopics(topic), kgo.FetchMaxWait(20*time.Second))
	r.produceAll(producer, keyed(topic, 1, 1))
	r.poll(cl, 1)
	for i := int64(1); i <= 5; i++ {
		time.Sleep(100 * time.Millisecond) // lets the next fetch begin to wait at the broker
		record := &kgo.Record{Topic: topic, Value: fmt.Appendf(nil, "%d", i)}
		r.produceAll(producer, []*kgo.Record{record})
		ctx, cancel := context.WithTimeout(r.ctx, 5*time.Second)
		got := cl.PollFetches(ctx).Records()
		cancel()
		equal("records within 5 s", len(got), 1)
		equal("offset", got[0].Offset, i)
		sameRecord(got[0], record)
	}
}
