package kafscale.clients;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.IntStream;
import kafscale.clients.Workload.Sent;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.Metric;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;

/** What a record can hold: codecs, headers, nulls, times and sizes, kept to the byte. */
final class RecordScenarios {
    private static final int CLIENT_LIMIT = 10_000_000;

    /**
     * The value whose batch is exactly the default message.max.bytes of 1,048,588: 61 bytes of batch header, 3 of
     * record length, 1 each of attributes, timestamp delta, offset delta and null key, 3 of value length, 1 of headers.
     */
    private static final int VALUE_BYTES_MAX = 1_048_588 - 61 - 3 - 4 - 3 - 1;

    private RecordScenarios() {}

    @Scenario
    static void compressionNone(Cluster cluster) throws Exception {
        compressed(cluster, "none");
    }

    @Scenario
    static void compressionGzip(Cluster cluster) throws Exception {
        compressed(cluster, "gzip");
    }

    @Scenario
    static void compressionSnappy(Cluster cluster) throws Exception {
        compressed(cluster, "snappy");
    }

    @Scenario
    static void compressionLz4(Cluster cluster) throws Exception {
        compressed(cluster, "lz4");
    }

    @Scenario
    static void compressionZstd(Cluster cluster) throws Exception {
        compressed(cluster, "zstd");
    }

    @Scenario
    static void headers(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        List<Header> several = List.of(
                header("trace", "1"),
                header("trace", "2"),
                new RecordHeader("null", (byte[]) null),
                header("empty", ""),
                header("", "empty key"),
                header("ключ", "значение"),
                new RecordHeader("bytes", new byte[] {0, -1, 127, -128}));
        List<ProducerRecord<String, String>> records = List.of(
                new ProducerRecord<>(topic, 0, "several", "value", several),
                new ProducerRecord<>(topic, 0, "none", "value"),
                new ProducerRecord<>(topic, 0, (String) null, (String) null, several));
        List<Sent> sent;
        try (var producer = cluster.producer()) {
            sent = Workload.send(producer, records);
        }
        var received = Workload.readAll(cluster, topic);
        Workload.verify(sent, received);
        Check.equal("headers kept", several, List.of(received.get(0).headers().toArray()));
        Check.equal("last of a repeated key", header("trace", "2"), received.get(0).headers().lastHeader("trace"));
        Check.equal("no headers", 0, received.get(1).headers().toArray().length);
    }

    @Scenario
    static void nullAndEmptyKeysAndValues(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        List<ProducerRecord<String, String>> records = new ArrayList<>();
        for (String key : new String[] {null, "", "key"}) {
            for (String value : new String[] {null, "", "value", "žluťoučký kůň 馬 🐎"}) {
                records.add(new ProducerRecord<>(topic, 0, key, value));
            }
        }
        List<Sent> sent;
        try (var producer = cluster.producer()) {
            sent = Workload.send(producer, records);
        }
        Workload.verify(sent, Workload.readAll(cluster, topic));
    }

    @Scenario
    static void recordsWithoutKeySpreadAndSurvive(Cluster cluster) throws Exception {
        String topic = cluster.topic(4);
        List<ProducerRecord<String, String>> records = IntStream.range(0, 5_000)
                .mapToObj(index -> new ProducerRecord<String, String>(topic, "value-" + index))
                .toList();
        List<Sent> sent;
        try (var producer = cluster.producer()) {
            sent = Workload.send(producer, records);
        }
        Workload.verify(sent, Workload.readAll(cluster, topic));
    }

    @Scenario
    static void createTimeIsKept(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        long now = System.currentTimeMillis();
        // Neither rising nor equal: a batch keeps a delta for each, negative ones included.
        long[] ages = {0, 60_000, 1, 3_600_000, 0, 59_999};
        List<ProducerRecord<String, String>> records = new ArrayList<>();
        for (long age : ages) {
            records.add(new ProducerRecord<>(topic, 0, now - age, "key", "aged " + age));
        }
        List<Sent> sent;
        try (var producer = cluster.producer("linger.ms", 1_000)) {
            sent = Workload.send(producer, records);
        }
        var received = Workload.readAll(cluster, topic);
        Workload.verify(sent, received);
        for (int index = 0; index < ages.length; index++) {
            Check.equal("timestamp " + index, now - ages[index], received.get(index).timestamp());
        }
    }

    @Scenario
    static void megabyteRecords(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        List<ProducerRecord<String, String>> records = IntStream.range(0, 5)
                .mapToObj(index -> new ProducerRecord<>(topic, 0, "key-" + index, ("" + index).repeat(1_000_000)))
                .toList();
        List<Sent> sent;
        try (var producer = cluster.producer("max.request.size", CLIENT_LIMIT)) {
            sent = Workload.send(producer, records);
        }
        Workload.verify(sent, Workload.readAll(cluster, topic));
    }

    @Scenario
    static void recordAtTheBrokersLimit(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        var fits = new ProducerRecord<String, String>(topic, 0, null, "x".repeat(VALUE_BYTES_MAX));
        var tooLarge = new ProducerRecord<String, String>(topic, 0, null, "x".repeat(VALUE_BYTES_MAX + 1));
        try (var producer = cluster.producer("max.request.size", CLIENT_LIMIT)) {
            List<Sent> sent = Workload.send(producer, List.of(fits));
            Check.fails(RecordTooLargeException.class, () -> producer.send(tooLarge).get());
            Workload.verify(sent, Workload.readAll(cluster, topic));
        }
    }

    @Scenario
    static void recordTooLarge(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        var tooLarge = new ProducerRecord<>(topic, 0, "key", "x".repeat(2_000_000));
        try (var producer = cluster.producer("max.request.size", CLIENT_LIMIT)) {
            Check.fails(RecordTooLargeException.class, () -> producer.send(tooLarge).get());
            // The same producer goes on, and the refused record has taken no offset.
            List<Sent> sent = Workload.send(producer, Workload.onePartition(topic, 10));
            Workload.verify(sent, Workload.readAll(cluster, topic));
        }
    }

    @Scenario
    static void topicLimitOverridesTheBrokers(Cluster cluster) throws Exception {
        String narrow = cluster.topic(1, "max.message.bytes", "1000");
        String wide = cluster.topic(1, "max.message.bytes", "3000000");
        try (var producer = cluster.producer("max.request.size", CLIENT_LIMIT)) {
            Check.fails(
                    RecordTooLargeException.class,
                    () -> producer.send(new ProducerRecord<>(narrow, "x".repeat(1_000))).get());
            var large = new ProducerRecord<>(wide, 0, "key", "x".repeat(2_000_000));
            Workload.verify(Workload.send(producer, List.of(large)), Workload.readAll(cluster, wide));
        }
    }

    @Scenario
    static void batchAboveTheLimitIsSplitByTheProducer(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        List<Sent> sent = new ArrayList<>();
        Object[] settings = {
            "compression.type", "gzip", "max.request.size", CLIENT_LIMIT, "batch.size", 1_000_000, "linger.ms", 500
        };
        try (var producer = cluster.producer(settings)) {
            // The client guesses a batch's size from what earlier ones shrank to; each of these lowers its guess.
            for (int index = 0; index < 150; index++) {
                sent.addAll(Workload.send(producer, List.of(new ProducerRecord<>(topic, 0, "", "x".repeat(2_000)))));
            }
            // These hardly shrink: the batch is above the limit, MESSAGE_TOO_LARGE makes the client send it in parts.
            sent.addAll(Workload.send(producer, incompressible(topic, 40, 100_000)));
            Check.that(metric(producer.metrics(), "batch-split-total") > 0, "no batch was refused and split");
        }
        Workload.verify(sent, Workload.readAll(cluster, topic));
    }

    private static List<ProducerRecord<String, String>> incompressible(String topic, int count, int characters) {
        Random random = new Random(1);
        return IntStream.range(0, count)
                .mapToObj(index -> new ProducerRecord<>(topic, 0, "key-" + index, random
                        .ints(characters, '!', '~')
                        .collect(StringBuilder::new, StringBuilder::appendCodePoint, StringBuilder::append)
                        .toString()))
                .toList();
    }

    private static void compressed(Cluster cluster, String codec) throws Exception {
        String topic = cluster.topic(2);
        String compressible = "compressible ".repeat(20);
        List<ProducerRecord<String, String>> records = new ArrayList<>();
        for (int index = 0; index < 2_000; index++) {
            List<Header> headers = List.of(header("index", "" + index));
            records.add(new ProducerRecord<>(topic, index % 2, "key-" + index, index + compressible, headers));
        }
        // One above the codecs' block sizes of 32 and 64 KiB, so that a batch has several blocks.
        records.add(new ProducerRecord<>(topic, 0, "large", "0123456789".repeat(30_000)));
        List<Sent> sent;
        try (var producer = cluster.producer("compression.type", codec, "linger.ms", 50)) {
            sent = Workload.send(producer, records);
            double rate = metric(producer.metrics(), "compression-rate-avg");
            Check.that(codec.equals("none") == (rate > 0.9), codec + " has compression rate " + rate);
        }
        Workload.verify(sent, Workload.readAll(cluster, topic));
    }

    private static double metric(Map<?, ? extends Metric> metrics, String name) {
        return metrics.values().stream()
                .filter(metric -> metric.metricName().name().equals(name))
                .filter(metric -> metric.metricName().group().equals("producer-metrics"))
                .mapToDouble(metric -> (Double) metric.metricValue())
                .findFirst()
                .orElseThrow();
    }

    private static Header header(String key, String value) {
        return new RecordHeader(key, value.getBytes(StandardCharsets.UTF_8));
    }
}
