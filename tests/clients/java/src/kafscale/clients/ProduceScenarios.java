package kafscale.clients;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.IntStream;
import kafscale.clients.Workload.Sent;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.common.utils.Utils;

/** Producer settings: what is acknowledged is there, once, in order, under every combination people run. */
final class ProduceScenarios {
    private static final int RECORDS = 10_000;
    private static final int PARTITIONS = 6;

    private ProduceScenarios() {}

    @Scenario
    static void defaultProducerReadByAssignment(Cluster cluster) throws Exception {
        String topic = cluster.topic(PARTITIONS);
        List<Sent> sent;
        try (var producer = cluster.producer()) {
            sent = Workload.send(producer, Workload.keyed(topic, RECORDS));
        }
        Set<TopicPartition> used = new HashSet<>();
        for (Sent one : sent) {
            String key = one.record().key();
            Check.equal("partition of " + key, partitionOf(key), one.partition().partition());
            used.add(one.partition());
        }
        Check.equal("partitions used", PARTITIONS, used.size());
        Workload.verify(sent, Workload.readAll(cluster, topic));
    }

    @Scenario
    static void defaultProducerReadBySubscription(Cluster cluster) throws Exception {
        String topic = cluster.topic(PARTITIONS);
        List<Sent> sent;
        try (var producer = cluster.producer()) {
            sent = Workload.send(producer, Workload.keyed(topic, RECORDS));
        }
        try (var consumer = cluster.consumer("group.id", cluster.unique("group"), "auto.offset.reset", "earliest")) {
            consumer.subscribe(List.of(topic));
            Workload.verify(sent, Workload.read(consumer, RECORDS));
            Check.equal("assignment", Set.copyOf(Cluster.partitions(topic, PARTITIONS)), consumer.assignment());
        }
    }

    @Scenario
    static void acksNone(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        List<Sent> sent;
        try (var producer = cluster.producer("acks", "0")) {
            sent = Workload.send(producer, Workload.onePartition(topic, 1_000));
        }
        Check.that(sent.stream().noneMatch(one -> one.metadata().hasOffset()), "acks=0 must not know offsets");
        // Nobody said when they are there, only that they will be.
        Check.eventually("end offset", () -> endOffset(cluster, topic), end -> end == 1_000L);
        Workload.verify(sent, Workload.readAll(cluster, topic));
    }

    @Scenario
    static void acksLeader(Cluster cluster) throws Exception {
        roundTrip(cluster, "acks", "1");
    }

    @Scenario
    static void acksAllWithoutIdempotence(Cluster cluster) throws Exception {
        roundTrip(cluster, "acks", "all", "enable.idempotence", false);
    }

    @Scenario
    static void idempotentProducerWithManyRetries(Cluster cluster) throws Exception {
        roundTrip(cluster, "enable.idempotence", true, "retries", Integer.MAX_VALUE);
    }

    @Scenario
    static void fiveRequestsInFlightWithoutLinger(Cluster cluster) throws Exception {
        roundTrip(
                cluster,
                "linger.ms", 0,
                "max.in.flight.requests.per.connection", 5,
                // About three records to a batch: many requests, so that five of them really are under way.
                "batch.size", 100);
    }

    @Scenario
    static void oneRequestInFlight(Cluster cluster) throws Exception {
        roundTrip(cluster, "max.in.flight.requests.per.connection", 1);
    }

    @Scenario
    static void lingerTwentyMilliseconds(Cluster cluster) throws Exception {
        roundTrip(cluster, "linger.ms", 20);
    }

    @Scenario
    static void oneRecordAtATime(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        List<Sent> sent = new ArrayList<>();
        try (var producer = cluster.producer()) {
            for (ProducerRecord<String, String> record : Workload.onePartition(topic, 100)) {
                sent.add(new Sent(record, producer.send(record).get()));
            }
        }
        Workload.verify(sent, Workload.readAll(cluster, topic));
    }

    @Scenario
    static void severalProducersOnOnePartition(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        Map<Integer, KafkaProducer<String, String>> producers = Map.of(0, cluster.producer(), 1, cluster.producer());
        for (int index = 0; index < 2_000; index++) {
            producers.get(index % 2).send(new ProducerRecord<>(topic, 0, "" + index % 2, "" + index / 2));
        }
        producers.values().forEach(KafkaProducer::close);
        Map<String, List<String>> byProducer = Map.of("0", new ArrayList<>(), "1", new ArrayList<>());
        long offset = 0;
        for (var record : Workload.readAll(cluster, topic)) {
            Check.equal("offset", offset++, record.offset());
            byProducer.get(record.key()).add(record.value());
        }
        List<String> inOrder = IntStream.range(0, 1_000).mapToObj(Integer::toString).toList();
        Check.equal("records of the first producer", inOrder, byProducer.get("0"));
        Check.equal("records of the second producer", inOrder, byProducer.get("1"));
    }

    @Scenario
    static void fiftyMegabytesInLargeBatches(Cluster cluster) throws Exception {
        String topic = cluster.topic(PARTITIONS);
        int count = 50_000;
        String padding = "x".repeat(1_000);
        List<ProducerRecord<String, String>> records = IntStream.range(0, count)
                .mapToObj(index -> new ProducerRecord<>(topic, "key-" + index, index + padding))
                .toList();
        List<Sent> sent;
        try (var producer = cluster.producer("batch.size", 1_000_000, "linger.ms", 20)) {
            sent = Workload.send(producer, records);
        }
        Workload.verify(sent, Workload.readAll(cluster, topic));
    }

    @Scenario
    static void invalidTopicNameIsRefused(Cluster cluster) throws Exception {
        try (var producer = cluster.producer()) {
            Check.fails(
                    InvalidTopicException.class,
                    () -> producer.send(new ProducerRecord<>("not a topic!", "value")).get());
        }
    }

    private static void roundTrip(Cluster cluster, Object... settings) throws Exception {
        String topic = cluster.topic(3);
        List<Sent> sent;
        try (var producer = cluster.producer(settings)) {
            sent = Workload.send(producer, Workload.keyed(topic, RECORDS));
        }
        Workload.verify(sent, Workload.readAll(cluster, topic));
    }

    private static long endOffset(Cluster cluster, String topic) {
        var partition = new TopicPartition(topic, 0);
        try (var consumer = cluster.consumer()) {
            return consumer.endOffsets(List.of(partition)).get(partition);
        }
    }

    private static int partitionOf(String key) {
        byte[] bytes = new StringSerializer().serialize("", key);
        return Utils.toPositive(Utils.murmur2(bytes)) % PARTITIONS;
    }
}
