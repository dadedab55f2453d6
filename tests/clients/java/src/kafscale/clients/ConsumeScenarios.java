package kafscale.clients;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.NoOffsetForPartitionException;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;

/** A consumer with assigned partitions: where it starts, where it can be put, what a fetch waits for. */
final class ConsumeScenarios {
    private static final Duration POLL = Duration.ofMillis(200);
    private static final Duration LONG_POLL = Duration.ofSeconds(30);

    /** Much longer than anything that is not waiting for it; closing a consumer waits for its last fetch, too. */
    private static final int FETCH_WAIT_MS = 10_000;

    private ConsumeScenarios() {}

    @Scenario
    static void resetToEarliest(Cluster cluster) throws Exception {
        try (var consumer = assigned(cluster, 20, "auto.offset.reset", "earliest")) {
            Check.equal("values", Workload.expectedValues(0, 20), Workload.values(Workload.read(consumer, 20)));
        }
    }

    @Scenario
    static void resetToLatest(Cluster cluster) throws Exception {
        try (var consumer = assigned(cluster, 20, "auto.offset.reset", "latest")) {
            TopicPartition partition = only(consumer);
            Check.equal("position", 20L, consumer.position(partition));
            Workload.fill(cluster, partition.topic(), 5);
            List<ConsumerRecord<String, String>> records = Workload.read(consumer, 5);
            Check.equal("first offset", 20L, records.get(0).offset());
            Check.equal("values", Workload.expectedValues(0, 5), Workload.values(records));
        }
    }

    @Scenario
    static void resetToNoneFails(Cluster cluster) throws Exception {
        try (var consumer = assigned(cluster, 20, "auto.offset.reset", "none")) {
            var failure = Check.fails(NoOffsetForPartitionException.class, () -> consumer.poll(LONG_POLL));
            Check.equal("partitions", consumer.assignment(), failure.partitions());
        }
    }

    @Scenario
    static void seekToOffset(Cluster cluster) throws Exception {
        try (var consumer = assigned(cluster, 50)) {
            for (int offset : new int[] {17, 0, 49, 3}) {
                consumer.seek(only(consumer), offset);
                List<ConsumerRecord<String, String>> records = Workload.readToEnd(consumer, consumer.assignment());
                Check.equal("first offset", (long) offset, records.get(0).offset());
                Check.equal("values", Workload.expectedValues(offset, 50), Workload.values(records));
            }
        }
    }

    @Scenario
    static void seekIntoTheMiddleOfABatch(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        sendOneBatch(cluster, Workload.onePartition(topic, 200), "zstd");
        try (var consumer = cluster.consumer()) {
            consumer.assign(Cluster.partitions(topic, 1));
            consumer.seek(only(consumer), 123);
            List<ConsumerRecord<String, String>> records = Workload.readToEnd(consumer, consumer.assignment());
            Check.equal("first offset", 123L, records.get(0).offset());
            Check.equal("values", Workload.expectedValues(123, 200), Workload.values(records));
        }
    }

    @Scenario
    static void seekToBeginningAndEnd(Cluster cluster) throws Exception {
        try (var consumer = assigned(cluster, 30)) {
            TopicPartition partition = only(consumer);
            consumer.seekToEnd(List.of(partition));
            Check.equal("end", 30L, consumer.position(partition));
            consumer.seekToBeginning(List.of(partition));
            Check.equal("beginning", 0L, consumer.position(partition));
            Check.equal("values", Workload.expectedValues(0, 30), Workload.values(Workload.read(consumer, 30)));
        }
    }

    @Scenario
    static void offsetsForTimesInsideACompressedBatch(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        long base = System.currentTimeMillis() - 600_000;
        List<ProducerRecord<String, String>> records = new ArrayList<>();
        for (int index = 0; index < 500; index++) {
            records.add(new ProducerRecord<>(topic, 0, base + 10L * index, "key", "value-" + index));
        }
        sendOneBatch(cluster, records.subList(0, 250), "gzip");
        sendOneBatch(cluster, records.subList(250, 500), "lz4");
        try (var consumer = cluster.consumer()) {
            for (int index : new int[] {0, 1, 99, 249, 250, 251, 333, 499}) {
                checkTime(consumer, topic, base + 10L * index, index, base + 10L * index);
                checkTime(consumer, topic, base + 10L * index - 1, index, base + 10L * index);
            }
            var partition = new TopicPartition(topic, 0);
            var late = consumer.offsetsForTimes(Map.of(partition, base + 10L * 499 + 1));
            Check.equal("after the last record", null, late.get(partition));
        }
    }

    @Scenario
    static void beginningAndEndOffsets(Cluster cluster) throws Exception {
        String topic = cluster.topic(3);
        Workload.fill(cluster, topic, 42);
        List<TopicPartition> partitions = Cluster.partitions(topic, 3);
        try (var consumer = cluster.consumer()) {
            var zeros = Map.of(partitions.get(0), 0L, partitions.get(1), 0L, partitions.get(2), 0L);
            var ends = Map.of(partitions.get(0), 42L, partitions.get(1), 0L, partitions.get(2), 0L);
            Check.equal("beginnings", zeros, consumer.beginningOffsets(partitions));
            Check.equal("ends", ends, consumer.endOffsets(partitions));
        }
    }

    @Scenario
    static void pauseAndResume(Cluster cluster) throws Exception {
        String topic = cluster.topic(2);
        List<ProducerRecord<String, String>> records = new ArrayList<>();
        for (int index = 0; index < 100; index++) {
            records.add(new ProducerRecord<>(topic, index % 2, "key", "value-" + index / 2));
        }
        try (var producer = cluster.producer()) {
            Workload.send(producer, records);
        }
        List<TopicPartition> partitions = Cluster.partitions(topic, 2);
        try (var consumer = cluster.consumer("auto.offset.reset", "earliest")) {
            consumer.assign(partitions);
            consumer.pause(List.of(partitions.get(1)));
            List<ConsumerRecord<String, String>> first = Workload.read(consumer, 50);
            Check.equal("partitions read", Set.of(partitions.get(0)), Workload.byPartition(first).keySet());
            Check.equal("nothing from the paused one", 0, consumer.poll(POLL).count());
            consumer.resume(consumer.paused());
            List<ConsumerRecord<String, String>> second = Workload.read(consumer, 50);
            Check.equal("partitions read", Set.of(partitions.get(1)), Workload.byPartition(second).keySet());
            Check.equal("values", Workload.expectedValues(0, 50), Workload.values(second));
        }
    }

    @Scenario
    static void maxPollRecords(Cluster cluster) throws Exception {
        try (var consumer = assigned(cluster, 100, "auto.offset.reset", "earliest", "max.poll.records", 7)) {
            List<ConsumerRecord<String, String>> all = new ArrayList<>();
            while (all.size() < 100) {
                int before = all.size();
                consumer.poll(LONG_POLL).forEach(all::add);
                int got = all.size() - before;
                Check.that(got >= 1 && got <= 7, "a poll returned " + got + " records");
            }
            Check.equal("values", Workload.expectedValues(0, 100), Workload.values(all));
        }
    }

    @Scenario
    static void fetchWaitsForMinimumBytesUntilItsTimeIsOver(Cluster cluster) throws Exception {
        try (var consumer = assigned(cluster, 3, "fetch.min.bytes", 100_000, "fetch.max.wait.ms", 1_500)) {
            consumer.seek(only(consumer), 0);
            long start = System.nanoTime();
            Check.equal("records", 3, consumer.poll(LONG_POLL).count());
            long waited = Duration.ofNanos(System.nanoTime() - start).toMillis();
            // The poll first finds its broker, then waits; the upper limit only excludes waiting several times.
            Check.that(waited >= 1_400 && waited < 6_000, "fetch.max.wait.ms is 1500 but the poll took " + waited);
        }
    }

    @Scenario
    static void fetchIsWokenByEnoughBytes(Cluster cluster) throws Exception {
        try (var consumer = assigned(cluster, 0, "fetch.min.bytes", 50_000, "fetch.max.wait.ms", FETCH_WAIT_MS);
                var producer = cluster.producer()) {
            TopicPartition partition = only(consumer);
            consumer.seek(partition, 0);
            long start = System.nanoTime();
            Check.equal("nothing yet", 0, consumer.poll(Duration.ofSeconds(1)).count());
            // The first does not reach the minimum, the second does, while the fetch of the poll above still waits.
            producer.send(record(partition, "small", 10_000)).get();
            Check.equal("not enough", 0, consumer.poll(Duration.ofSeconds(1)).count());
            producer.send(record(partition, "large", 60_000)).get();
            List<ConsumerRecord<String, String>> records = Workload.read(consumer, 2);
            long waited = Duration.ofNanos(System.nanoTime() - start).toMillis();
            Check.equal("keys", List.of("small", "large"), records.stream().map(ConsumerRecord::key).toList());
            Check.that(waited < FETCH_WAIT_MS - 2_000, "enough bytes were there, yet the poll took " + waited + " ms");
        }
    }

    @Scenario
    static void idleFetchIsWokenByOneRecord(Cluster cluster) throws Exception {
        try (var consumer = assigned(cluster, 0, "fetch.max.wait.ms", FETCH_WAIT_MS);
                var producer = cluster.producer()) {
            TopicPartition partition = only(consumer);
            consumer.seek(partition, 0);
            Check.equal("nothing yet", 0, consumer.poll(Duration.ofSeconds(1)).count());
            for (int index = 0; index < 20; index++) {
                long start = System.nanoTime();
                producer.send(record(partition, "key-" + index, 10)).get();
                Check.equal("key", "key-" + index, Workload.read(consumer, 1).get(0).key());
                long waited = Duration.ofNanos(System.nanoTime() - start).toMillis();
                Check.that(waited < FETCH_WAIT_MS / 2, "a record took " + waited + " ms from send to poll");
            }
        }
    }

    @Scenario
    static void smallFetchesStillMakeProgress(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        List<ProducerRecord<String, String>> records = new ArrayList<>();
        for (int index = 0; index < 20; index++) {
            records.add(record(new TopicPartition(topic, 0), "key-" + index, 20_000));
        }
        List<Workload.Sent> sent;
        try (var producer = cluster.producer()) {
            sent = Workload.send(producer, records);
        }
        // Every batch is larger than both limits; KIP-74: at least one whole batch comes nevertheless.
        Workload.verify(
                sent, Workload.readAll(cluster, topic, "max.partition.fetch.bytes", 1_000, "fetch.max.bytes", 1_000));
    }

    @Scenario
    static void readCommittedSeesPlainRecords(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        List<Workload.Sent> sent = Workload.fill(cluster, topic, 1_000);
        Workload.verify(sent, Workload.readAll(cluster, topic, "isolation.level", "read_committed"));
    }

    @Scenario
    static void positionOutOfRangeGoesToEarliest(Cluster cluster) throws Exception {
        try (var consumer = assigned(cluster, 20, "auto.offset.reset", "earliest")) {
            consumer.seek(only(consumer), 9_999);
            Check.equal("values", Workload.expectedValues(0, 20), Workload.values(Workload.read(consumer, 20)));
        }
    }

    @Scenario
    static void positionOutOfRangeGoesToLatest(Cluster cluster) throws Exception {
        try (var consumer = assigned(cluster, 20, "auto.offset.reset", "latest")) {
            TopicPartition partition = only(consumer);
            consumer.seek(partition, 9_999);
            Check.eventually("position is the end", () -> {
                Check.equal("records", 0, consumer.poll(POLL).count());
                return consumer.position(partition) == 20;
            });
        }
    }

    @Scenario
    static void positionOutOfRangeWithoutPolicyFails(Cluster cluster) throws Exception {
        try (var consumer = assigned(cluster, 20, "auto.offset.reset", "none")) {
            consumer.seek(only(consumer), 21);
            var failure = Check.fails(OffsetOutOfRangeException.class, () -> consumer.poll(LONG_POLL));
            Check.equal("partitions", Map.of(only(consumer), 21L), failure.offsetOutOfRangePartitions());
            // The end itself is a position like any other.
            consumer.seek(only(consumer), 20);
            Check.equal("records", 0, consumer.poll(POLL).count());
        }
    }

    @Scenario
    static void manyPartitionsInOneConsumer(Cluster cluster) throws Exception {
        String topic = cluster.topic(60);
        List<ProducerRecord<String, String>> records = new ArrayList<>();
        for (int index = 0; index < 6_000; index++) {
            records.add(new ProducerRecord<>(topic, index % 60, "key", "value-" + index));
        }
        List<Workload.Sent> sent;
        try (var producer = cluster.producer()) {
            sent = Workload.send(producer, records);
        }
        Workload.verify(sent, Workload.readAll(cluster, topic));
    }

    /** A consumer of a new topic with one partition that holds "value-0", "value-1", ... */
    private static KafkaConsumer<String, String> assigned(Cluster cluster, int records, Object... settings)
            throws Exception {
        String topic = cluster.topic(1);
        Workload.fill(cluster, topic, records);
        KafkaConsumer<String, String> consumer = cluster.consumer(settings);
        consumer.assign(Cluster.partitions(topic, 1));
        return consumer;
    }

    private static TopicPartition only(KafkaConsumer<String, String> consumer) {
        return consumer.assignment().iterator().next();
    }

    private static ProducerRecord<String, String> record(TopicPartition partition, String key, int bytes) {
        return new ProducerRecord<>(partition.topic(), partition.partition(), key, "x".repeat(bytes));
    }

    /** Sends all records in one batch, and makes sure that it was one. */
    private static void sendOneBatch(Cluster cluster, List<ProducerRecord<String, String>> records, String codec)
            throws Exception {
        try (KafkaProducer<String, String> producer =
                cluster.producer("compression.type", codec, "batch.size", 1_000_000, "linger.ms", 10_000)) {
            Workload.send(producer, records);
            double perRequest = producer.metrics().values().stream()
                    .filter(metric -> metric.metricName().name().equals("records-per-request-avg"))
                    .mapToDouble(metric -> (Double) metric.metricValue())
                    .findFirst()
                    .orElseThrow();
            Check.equal("records in the batch", (double) records.size(), perRequest);
        }
    }

    private static void checkTime(
            KafkaConsumer<String, String> consumer, String topic, long time, long offset, long timestamp) {
        var partition = new TopicPartition(topic, 0);
        var found = consumer.offsetsForTimes(Map.of(partition, time)).get(partition);
        Check.that(found != null, "no offset for time " + time);
        Check.equal("offset for time " + time, offset, found.offset());
        Check.equal("timestamp for time " + time, timestamp, found.timestamp());
    }
}
