package kafscale.clients;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ListOffsetsOptions;
import org.apache.kafka.clients.admin.ListOffsetsResult.ListOffsetsResultInfo;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;

/** What the AdminClient reads: cluster, configurations, offsets. */
final class AdminScenarios {
    private AdminScenarios() {}

    @Scenario
    static void describeCluster(Cluster cluster) throws Exception {
        var described = cluster.admin().describeCluster();
        Check.that(!described.clusterId().get().isEmpty(), "a cluster has an id");
        var nodes = described.nodes().get();
        Check.that(nodes.contains(described.controller().get()), "the controller is a node");
        List<String> ports = nodes.stream().map(node -> ":" + node.port()).toList();
        Check.that(ports.stream().anyMatch(cluster.bootstrap()::endsWith), nodes + " lack " + cluster.bootstrap());
    }

    @Scenario
    static void describeTopicConfigs(Cluster cluster) throws Exception {
        String topic = cluster.topic(1, "retention.ms", "12345678");
        Config config = configOf(cluster, ConfigResource.Type.TOPIC, topic);
        Map<String, String> defaults = Map.of(
                "cleanup.policy", "delete",
                "compression.type", "producer",
                "max.message.bytes", "1048588",
                "message.timestamp.type", "CreateTime",
                "min.compaction.lag.ms", "0",
                "delete.retention.ms", "86400000",
                "retention.bytes", "-1");
        defaults.forEach((name, value) -> {
            Check.equal(name, value, entry(config, name).value());
            Check.that(entry(config, name).isDefault(), name + " is a default");
        });
        // A default as well, but Apache Kafka 4.1 sets it for the cluster, so that its source is another.
        Check.equal("min.insync.replicas", "1", entry(config, "min.insync.replicas").value());
        for (String name : List.of("segment.ms", "segment.bytes")) {
            Check.that(Long.parseLong(entry(config, name).value()) > 0, name + " is positive");
        }
        Check.equal("retention.ms", "12345678", entry(config, "retention.ms").value());
        Check.equal("source", ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, entry(config, "retention.ms").source());
        Check.that(!entry(config, "retention.ms").isDefault(), "retention.ms was set");
    }

    @Scenario
    static void describeBrokerConfigs(Cluster cluster) throws Exception {
        Node node = cluster.admin().describeCluster().controller().get();
        Config config = configOf(cluster, ConfigResource.Type.BROKER, node.idString());
        Check.equal("message.max.bytes", "1048588", entry(config, "message.max.bytes").value());
        Check.equal("auto.create.topics.enable", "true", entry(config, "auto.create.topics.enable").value());
        Check.equal("node.id", node.idString(), entry(config, "node.id").value());
        for (String name : List.of("num.partitions", "group.max.session.timeout.ms", "offsets.retention.minutes")) {
            Check.that(Long.parseLong(entry(config, name).value()) > 0, name + " is positive");
        }
    }

    @Scenario
    static void describeConfigsOfUnknownTopic(Cluster cluster) throws Exception {
        String topic = cluster.unique("absent");
        Check.fails(
                UnknownTopicOrPartitionException.class,
                () -> configOf(cluster, ConfigResource.Type.TOPIC, topic));
    }

    @Scenario
    static void listOffsets(Cluster cluster) throws Exception {
        String topic = cluster.topic(2);
        long base = System.currentTimeMillis() - 600_000;
        // Partition 0 only; not in order of time, the greatest in the middle.
        long[] times = {base + 100, base + 500, base + 300, base + 900, base + 200, base + 700};
        List<ProducerRecord<String, String>> records = new ArrayList<>();
        for (long time : times) {
            records.add(new ProducerRecord<>(topic, 0, time, "key", "at " + time));
        }
        try (var producer = cluster.producer("linger.ms", 1_000, "compression.type", "lz4")) {
            Workload.send(producer, records);
        }
        var full = new TopicPartition(topic, 0);
        checkOffset(cluster, full, OffsetSpec.earliest(), 0, -1);
        checkOffset(cluster, full, OffsetSpec.latest(), 6, -1);
        checkOffset(cluster, full, OffsetSpec.maxTimestamp(), 3, base + 900);
        checkOffset(cluster, full, OffsetSpec.forTimestamp(base), 0, base + 100);
        checkOffset(cluster, full, OffsetSpec.forTimestamp(base + 100), 0, base + 100);
        checkOffset(cluster, full, OffsetSpec.forTimestamp(base + 101), 1, base + 500);
        checkOffset(cluster, full, OffsetSpec.forTimestamp(base + 501), 3, base + 900);
        checkOffset(cluster, full, OffsetSpec.forTimestamp(base + 901), -1, -1);

        var empty = new TopicPartition(topic, 1);
        checkOffset(cluster, empty, OffsetSpec.earliest(), 0, -1);
        checkOffset(cluster, empty, OffsetSpec.latest(), 0, -1);
        checkOffset(cluster, empty, OffsetSpec.maxTimestamp(), -1, -1);
        checkOffset(cluster, empty, OffsetSpec.forTimestamp(base), -1, -1);
    }

    @Scenario
    static void listOffsetsReadCommitted(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        Workload.fill(cluster, topic, 25);
        var partition = new TopicPartition(topic, 0);
        var committed = new ListOffsetsOptions(IsolationLevel.READ_COMMITTED);
        var found = cluster.admin().listOffsets(Map.of(partition, OffsetSpec.latest()), committed);
        Check.equal("last stable offset", 25L, found.partitionResult(partition).get().offset());
    }

    @Scenario
    static void listOffsetsOfManyPartitions(Cluster cluster) throws Exception {
        String topic = cluster.topic(20);
        try (var producer = cluster.producer()) {
            for (int partition = 0; partition < 20; partition++) {
                for (int count = 0; count < partition; count++) {
                    producer.send(new ProducerRecord<>(topic, partition, "key", "value"));
                }
            }
        }
        Map<TopicPartition, OffsetSpec> latest = Cluster.partitions(topic, 20).stream()
                .collect(Collectors.toMap(Function.identity(), partition -> OffsetSpec.latest()));
        Map<TopicPartition, ListOffsetsResultInfo> found = cluster.admin().listOffsets(latest).all().get();
        found.forEach((partition, info) -> {
            Check.equal("end of " + partition, (long) partition.partition(), info.offset());
        });
        Check.equal("partitions answered", 20, found.size());
    }

    private static void checkOffset(
            Cluster cluster, TopicPartition partition, OffsetSpec spec, long offset, long timestamp) throws Exception {
        var found = cluster.admin().listOffsets(Map.of(partition, spec)).partitionResult(partition).get();
        String what = spec.getClass().getSimpleName() + " of " + partition;
        Check.equal("offset for " + what, offset, found.offset());
        Check.equal("timestamp for " + what, timestamp, found.timestamp());
    }

    private static Config configOf(Cluster cluster, ConfigResource.Type type, String name) throws Exception {
        var resource = new ConfigResource(type, name);
        return cluster.admin().describeConfigs(List.of(resource)).all().get().get(resource);
    }

    private static ConfigEntry entry(Config config, String name) {
        ConfigEntry entry = config.get(name);
        Check.that(entry != null, "no config " + name);
        return entry;
    }
}
