package main

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
)

func init() {
	scenarios["default_settings"] = defaultSettings
	scenarios["idempotent_producer"] = idempotentProducer
	scenarios["non_idempotent_producer"] = nonIdempotentProducer
	scenarios["acks_none"] = acksNone
	scenarios["acks_leader"] = func(r *run) { acks(r, kgo.LeaderAck()) }
	scenarios["acks_all"] = func(r *run) { acks(r, kgo.AllISRAcks()) }
	scenarios["many_partitions"] = manyPartitions
	scenarios["two_producers_interleaved"] = twoProducersInterleaved
	scenarios["compression_none"] = func(r *run) { compression(r, kgo.NoCompression(), 0) }
	scenarios["compression_gzip"] = func(r *run) { compression(r, kgo.GzipCompression(), 1) }
	scenarios["compression_snappy"] = func(r *run) { compression(r, kgo.SnappyCompression(), 2) }
	scenarios["compression_lz4"] = func(r *run) { compression(r, kgo.Lz4Compression(), 3) }
	scenarios["compression_zstd"] = func(r *run) { compression(r, kgo.ZstdCompression(), 4) }
}

func defaultSettings(r *run) {
	topic := r.topic(6)
	records := keyed(topic, 5000, 500)
	r.produceAll(r.client(), records)
	used := map[int32]bool{}
	for _, record := range records {
		used[record.Partition] = true
	}
	equal("partitions used", len(used), 6)
	r.verifyLog(records, r.consume(topic, len(records)))
}

func idempotentProducer(r *run) {
	topic := r.topic(3)
	cl := r.client()
	records := keyed(topic, 600, 60)
	r.produceAll(cl, records[:300])
	r.produceAll(cl, records[300:])
	id, epoch, err := cl.ProducerID(r.ctx)
	check(err)
	isTrue("producer id is not negative", id >= 0)
	equal("producer epoch", epoch, int16(0))
	consumed := r.consume(topic, len(records))
	for _, record := range consumed {
		equal("producer id in the log", record.ProducerID, id)
		equal("producer epoch in the log", record.ProducerEpoch, epoch)
	}
	r.verifyLog(records, consumed)
	other, _, err := r.client().ProducerID(r.ctx)
	check(err)
	isTrue("a second producer has its own id", other != id)
}

func nonIdempotentProducer(r *run) {
	topic := r.topic(3)
	records := keyed(topic, 600, 60)
	r.produceAll(r.client(kgo.DisableIdempotentWrite()), records)
	consumed := r.consume(topic, len(records))
	for _, record := range consumed {
		equal("producer id in the log", record.ProducerID, int64(-1))
	}
	r.verifyLog(records, consumed)
}

func acks(r *run, acks kgo.Acks) {
	topic := r.topic(2)
	records := keyed(topic, 400, 40)
	r.produceAll(r.client(kgo.RequiredAcks(acks), kgo.DisableIdempotentWrite()), records)
	r.verifyLog(records, r.consume(topic, len(records)))
}

// acksNone has no offsets to check from the producer's side: it compares the order of values instead.
func acksNone(r *run) {
	topic := r.topic(1)
	records := keyed(topic, 400, 40)
	cl := r.client(kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite())
	r.produceAll(cl, records[:200])
	r.produceAll(cl, records[200:])
	consumed := r.consume(topic, len(records))
	for i, record := range records {
		record.Partition, record.Offset = 0, int64(i)
	}
	r.verifyLog(records, consumed)
}

func manyPartitions(r *run) {
	const partitions, perPartition = 200, 5
	topic := r.topic(partitions)
	records := keyed(topic, partitions*perPartition, partitions)
	for i, record := range records {
		record.Partition = int32(i % partitions)
	}
	r.produceAll(r.client(kgo.RecordPartitioner(kgo.ManualPartitioner())), records)
	for i, record := range records {
		equal("partition of record", record.Partition, int32(i%partitions))
		equal(fmt.Sprintf("offset in partition %d", record.Partition), record.Offset, int64(i/partitions))
	}
	r.verifyLog(records, r.consume(topic, len(records)))
}

// twoProducersInterleaved shares one partition: each producer's own order holds, offsets are unique.
func twoProducersInterleaved(r *run) {
	topic := r.topic(1)
	batches := [][]*kgo.Record{keyed(topic, 500, 50), keyed(topic, 500, 50)}
	errors := make(chan error, len(batches))
	for _, records := range batches {
		cl := r.client(kgo.ProducerBatchMaxBytes(4000))
		go func() { errors <- cl.ProduceSync(r.ctx, records...).FirstErr() }()
	}
	check(<-errors)
	check(<-errors)
	for _, records := range batches {
		for i := 1; i < len(records); i++ {
			isTrue("one producer's offsets grow", records[i].Offset > records[i-1].Offset)
		}
	}
	all := make([]*kgo.Record, 1000)
	for _, record := range append(batches[0], batches[1]...) {
		isTrue("offset is inside the log", record.Offset >= 0 && record.Offset < 1000)
		all[record.Offset] = record
	}
	for offset, record := range all {
		isTrue(fmt.Sprintf("offset %d was acknowledged", offset), record != nil)
	}
	r.verifyLog(all, r.consume(topic, len(all)))
}

// compression checks the round trip and the codec's number in the batch attributes.
func compression(r *run, codec kgo.CompressionCodec, number uint8) {
	topic := r.topic(2)
	records := keyed(topic, 1000, 20)
	r.produceAll(r.client(kgo.ProducerBatchCompression(codec)), records)
	consumed := r.consume(topic, len(records))
	for _, record := range consumed {
		equal("codec in the log", record.Attrs.CompressionType(), number)
	}
	r.verifyLog(records, consumed)
}
