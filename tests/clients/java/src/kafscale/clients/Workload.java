package kafscale.clients;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.stream.IntStream;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.record.TimestampType;

/** Sends records, reads topics to their ends, and compares what came back with what was sent, field by field. */
final class Workload {
    private static final Duration POLL = Duration.ofMillis(200);
    private static final Duration READ_MAX = Duration.ofSeconds(40);

    /** A record and the broker's answer to it. */
    record Sent(ProducerRecord<String, String> record, RecordMetadata metadata) {
        TopicPartition partition() {
            return new TopicPartition(metadata.topic(), metadata.partition());
        }
    }

    private Workload() {}

    /** Records "key-i" -> "value-i" with partitions left to the producer. */
    static List<ProducerRecord<String, String>> keyed(String topic, int count) {
        return IntStream.range(0, count)
                .mapToObj(index -> new ProducerRecord<>(topic, "key-" + index, "value-" + index))
                .toList();
    }

    /** Records "key-i" -> "value-i" for partition 0. */
    static List<ProducerRecord<String, String>> onePartition(String topic, int count) {
        return IntStream.range(0, count)
                .mapToObj(index -> new ProducerRecord<>(topic, 0, "key-" + index, "value-" + index))
                .toList();
    }

    /** Sends all records, flushes, and returns each with its acknowledgement; fails when one failed. */
    static List<Sent> send(Producer<String, String> producer, List<ProducerRecord<String, String>> records)
            throws InterruptedException, ExecutionException {
        List<Future<RecordMetadata>> pending = new ArrayList<>(records.size());
        for (ProducerRecord<String, String> record : records) {
            pending.add(producer.send(record));
        }
        producer.flush();
        List<Sent> sent = new ArrayList<>(records.size());
        for (int index = 0; index < records.size(); index++) {
            sent.add(new Sent(records.get(index), pending.get(index).get()));
        }
        return sent;
    }

    /** Sends "value-0"... to partition 0 with a default producer. */
    static List<Sent> fill(Cluster cluster, String topic, int count) throws Exception {
        try (var producer = cluster.producer()) {
            return send(producer, onePartition(topic, count));
        }
    }

    /** Reads every partition of the topic from its beginning to its end. */
    static List<ConsumerRecord<String, String>> readAll(Cluster cluster, String topic, Object... settings) {
        try (var consumer = cluster.consumer(settings)) {
            List<TopicPartition> partitions = consumer.partitionsFor(topic).stream()
                    .map(info -> new TopicPartition(info.topic(), info.partition()))
                    .toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            return readToEnd(consumer, partitions);
        }
    }

    /** Polls until the consumer's position in every one of its partitions is the end as it is now. */
    static List<ConsumerRecord<String, String>> readToEnd(
            Consumer<String, String> consumer, Collection<TopicPartition> partitions) {
        Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
        List<ConsumerRecord<String, String>> records = new ArrayList<>();
        long deadline = System.nanoTime() + READ_MAX.toNanos();
        while (ends.entrySet().stream().anyMatch(end -> consumer.position(end.getKey()) < end.getValue())) {
            String progress = "ends " + ends + " not reached after " + records.size() + " records";
            Check.that(System.nanoTime() < deadline, progress);
            consumer.poll(POLL).forEach(records::add);
        }
        return records;
    }

    /** Polls until this many records have come and fails when more did. */
    static List<ConsumerRecord<String, String>> read(Consumer<String, String> consumer, int count) {
        List<ConsumerRecord<String, String>> records = new ArrayList<>();
        long deadline = System.nanoTime() + READ_MAX.toNanos();
        while (records.size() < count) {
            Check.that(System.nanoTime() < deadline, "only " + records.size() + " of " + count + " records came");
            consumer.poll(POLL).forEach(records::add);
        }
        Check.equal("number of records", count, records.size());
        return records;
    }

    /** Checks that a fresh topic holds exactly these records: per partition in order, with dense offsets from 0. */
    static void verify(List<Sent> sent, List<ConsumerRecord<String, String>> received) {
        verifyFrom(0, sent, received);
    }

    /** Like verify, where each partition's first record has this offset. */
    static void verifyFrom(long firstOffset, List<Sent> sent, List<ConsumerRecord<String, String>> received) {
        Check.equal("number of records", sent.size(), received.size());
        Map<TopicPartition, List<Sent>> wanted = new TreeMap<>(
                (left, right) -> left.toString().compareTo(right.toString()));
        for (Sent one : sent) {
            wanted.computeIfAbsent(one.partition(), partition -> new ArrayList<>()).add(one);
        }
        Map<TopicPartition, List<ConsumerRecord<String, String>>> got = byPartition(received);
        Check.equal("partitions with records", wanted.keySet().stream().toList(), sorted(got.keySet()));
        wanted.forEach((partition, records) -> {
            Check.equal("records in " + partition, records.size(), got.get(partition).size());
            for (int index = 0; index < records.size(); index++) {
                verifyOne(firstOffset + index, records.get(index), got.get(partition).get(index));
            }
        });
    }

    static Map<TopicPartition, List<ConsumerRecord<String, String>>> byPartition(
            Collection<ConsumerRecord<String, String>> records) {
        Map<TopicPartition, List<ConsumerRecord<String, String>>> grouped = new HashMap<>();
        for (ConsumerRecord<String, String> record : records) {
            var partition = new TopicPartition(record.topic(), record.partition());
            grouped.computeIfAbsent(partition, key -> new ArrayList<>()).add(record);
        }
        return grouped;
    }

    /** The values in the order in which they were read. */
    static List<String> values(List<ConsumerRecord<String, String>> records) {
        return records.stream().map(ConsumerRecord::value).toList();
    }

    /** "value-from" up to but not including "value-to". */
    static List<String> expectedValues(int from, int to) {
        return IntStream.range(from, to).mapToObj(index -> "value-" + index).toList();
    }

    private static List<TopicPartition> sorted(Collection<TopicPartition> partitions) {
        return partitions.stream()
                .sorted((left, right) -> left.toString().compareTo(right.toString()))
                .toList();
    }

    private static void verifyOne(long offset, Sent sent, ConsumerRecord<String, String> got) {
        String where = sent.partition() + " offset " + offset + " ";
        Check.equal(where + "offset", offset, got.offset());
        if (sent.metadata().hasOffset()) {
            Check.equal(where + "acknowledged offset", offset, sent.metadata().offset());
        }
        Check.equal(where + "key", sent.record().key(), got.key());
        Check.equal(where + "value", sent.record().value(), got.value());
        Check.equal(where + "timestamp", sent.metadata().timestamp(), got.timestamp());
        Check.equal(where + "timestamp type", TimestampType.CREATE_TIME, got.timestampType());
        Check.equal(
                where + "headers",
                Arrays.asList(sent.record().headers().toArray()),
                Arrays.asList(got.headers().toArray()));
    }
}
