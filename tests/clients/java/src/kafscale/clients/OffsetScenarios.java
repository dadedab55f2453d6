package kafscale.clients;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.OffsetMetadataTooLarge;

/** Committed offsets: what was committed is what comes back, and only who may commit does. */
final class OffsetScenarios {
    private OffsetScenarios() {}

    @Scenario
    static void commitSyncKeepsMetadata(Cluster cluster) throws Exception {
        String topic = cluster.topic(3);
        List<TopicPartition> partitions = Cluster.partitions(topic, 3);
        String group = cluster.unique("group");
        Map<TopicPartition, OffsetAndMetadata> offsets = Map.of(
                partitions.get(0), new OffsetAndMetadata(5, "a note, žluť"),
                partitions.get(1), new OffsetAndMetadata(0, ""));
        try (var consumer = joined(cluster, group, topic)) {
            consumer.commitSync(offsets);
            checkCommitted(consumer, offsets, partitions.get(2));
        }
        try (var stranger = cluster.consumer("group.id", group)) {
            checkCommitted(stranger, offsets, partitions.get(2));
        }
        var listed = cluster.admin().listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
        Check.equal("listed by the admin client", offsets, listed);
    }

    @Scenario
    static void commitKeepsLeaderEpoch(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        var partition = new TopicPartition(topic, 0);
        var offset = new OffsetAndMetadata(7, Optional.of(0), "epoch zero");
        try (var consumer = cluster.consumer("group.id", cluster.unique("group"))) {
            consumer.assign(List.of(partition));
            consumer.commitSync(Map.of(partition, offset));
            Check.equal("committed", offset, consumer.committed(Set.of(partition)).get(partition));
        }
    }

    @Scenario
    static void commitAsync(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        var partition = new TopicPartition(topic, 0);
        try (var consumer = joined(cluster, cluster.unique("group"), topic)) {
            CompletableFuture<Map<TopicPartition, OffsetAndMetadata>> last = new CompletableFuture<>();
            for (int offset = 1; offset <= 100; offset++) {
                boolean isLast = offset == 100;
                var commit = Map.of(partition, new OffsetAndMetadata(offset, "n" + offset));
                consumer.commitAsync(commit, (offsets, problem) -> {
                    if (problem != null) {
                        last.completeExceptionally(problem);
                    } else if (isLast) {
                        last.complete(offsets);
                    }
                });
            }
            Check.eventually("the callback ran", () -> {
                consumer.poll(Duration.ofMillis(50));
                return last.isDone();
            });
            var expected = new OffsetAndMetadata(100, "n100");
            Check.equal("offsets in the callback", Map.of(partition, expected), last.get(1, TimeUnit.SECONDS));
            Check.equal("committed", expected, consumer.committed(Set.of(partition)).get(partition));
        }
    }

    @Scenario
    static void missingCommitIsNull(Cluster cluster) throws Exception {
        String topic = cluster.topic(2);
        List<TopicPartition> partitions = Cluster.partitions(topic, 2);
        try (var consumer = cluster.consumer("group.id", cluster.unique("group"))) {
            var committed = consumer.committed(Set.copyOf(partitions));
            Check.equal("partitions answered", Set.copyOf(partitions), committed.keySet());
            for (TopicPartition partition : partitions) {
                Check.equal("committed in " + partition, null, committed.get(partition));
            }
        }
    }

    @Scenario
    static void missingCommitFollowsTheResetPolicy(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        Workload.fill(cluster, topic, 12);
        var partition = new TopicPartition(topic, 0);
        for (var policy : Map.of("earliest", 0L, "latest", 12L).entrySet()) {
            try (var consumer = cluster.consumer(
                    "group.id", cluster.unique("group"), "auto.offset.reset", policy.getKey())) {
                consumer.assign(List.of(partition));
                Check.equal("position with " + policy.getKey(), policy.getValue(), consumer.position(partition));
            }
        }
    }

    @Scenario
    static void commitWithoutMembership(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        Workload.fill(cluster, topic, 30);
        String group = cluster.unique("group");
        var partition = new TopicPartition(topic, 0);
        try (var consumer = cluster.consumer("group.id", group)) {
            consumer.assign(List.of(partition));
            consumer.commitSync(Map.of(partition, new OffsetAndMetadata(10, "by hand")));
        }
        try (var consumer = cluster.consumer("group.id", group)) {
            consumer.assign(List.of(partition));
            Check.equal("position", 10L, consumer.position(partition));
            var values = Workload.values(Workload.read(consumer, 20));
            Check.equal("values", Workload.expectedValues(10, 30), values);
        }
    }

    @Scenario
    static void commitOfTooMuchMetadata(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        var partition = new TopicPartition(topic, 0);
        try (var consumer = cluster.consumer("group.id", cluster.unique("group"))) {
            consumer.assign(List.of(partition));
            // offset.metadata.max.bytes is 4096 by default.
            consumer.commitSync(Map.of(partition, new OffsetAndMetadata(1, "x".repeat(4_096))));
            Check.fails(OffsetMetadataTooLarge.class, () -> {
                consumer.commitSync(Map.of(partition, new OffsetAndMetadata(2, "x".repeat(4_097))));
                return null;
            });
            Check.equal("committed", 1L, consumer.committed(Set.of(partition)).get(partition).offset());
        }
    }

    @Scenario
    static void commitAfterThePollIntervalFails(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        Workload.fill(cluster, topic, 10);
        String group = cluster.unique("group");
        var partition = new TopicPartition(topic, 0);
        try (var late = joined(cluster, group, topic, "max.poll.interval.ms", 2_000, "heartbeat.interval.ms", 300)) {
            // It does not poll any more, so that another gets its partition and commits for it.
            try (var heir = joined(cluster, group, topic)) {
                heir.commitSync(Map.of(partition, new OffsetAndMetadata(8)));
                checkCommitFails(late, partition);
                Check.equal("committed", 8L, heir.committed(Set.of(partition)).get(partition).offset());
            }
        }
    }

    @Scenario
    static void commitOfARemovedMemberFails(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        String group = cluster.unique("group");
        var partition = new TopicPartition(topic, 0);
        // The next heartbeat is far off, so it is the commit that the coordinator has to refuse.
        try (var removed = joined(cluster, group, topic, "heartbeat.interval.ms", 14_000)) {
            removed.commitSync(Map.of(partition, new OffsetAndMetadata(1)));
            var everyone = new RemoveMembersFromConsumerGroupOptions();
            cluster.admin().removeMembersFromConsumerGroup(group, everyone).all().get();
            checkCommitFails(removed, partition);
            Check.equal("committed", 1L, removed.committed(Set.of(partition)).get(partition).offset());
        }
    }

    @Scenario
    static void strangerMayNotCommitForALivingGroup(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        String group = cluster.unique("group");
        var partition = new TopicPartition(topic, 0);
        try (var member = joined(cluster, group, topic);
                var stranger = cluster.consumer("group.id", group)) {
            member.commitSync(Map.of(partition, new OffsetAndMetadata(1)));
            stranger.assign(List.of(partition));
            checkCommitFails(stranger, partition);
            Check.equal("committed", 1L, member.committed(Set.of(partition)).get(partition).offset());
        }
    }

    @Scenario
    static void offsetsAreForgottenWithTheirTopic(Cluster cluster) throws Exception {
        String topic = cluster.unique("topic");
        cluster.create(topic, 1);
        String group = cluster.unique("group");
        var partition = new TopicPartition(topic, 0);
        try (var consumer = cluster.consumer("group.id", group)) {
            consumer.assign(List.of(partition));
            consumer.commitSync(Map.of(partition, new OffsetAndMetadata(33)));
        }
        cluster.admin().deleteTopics(List.of(topic)).all().get();
        Check.eventually("the topic is gone", () -> !cluster.admin().listTopics().names().get().contains(topic));
        Check.eventually("its offsets are gone", () -> cluster.admin()
                .listConsumerGroupOffsets(group)
                .partitionsToOffsetAndMetadata()
                .get()
                .isEmpty());
    }

    private static KafkaConsumer<String, String> joined(
            Cluster cluster, String group, String topic, Object... settings) throws Exception {
        List<Object> all = new ArrayList<>(List.of(
                "group.id", group,
                "enable.auto.commit", false,
                "auto.offset.reset", "earliest"));
        all.addAll(List.of(settings));
        KafkaConsumer<String, String> consumer = cluster.consumer(all.toArray());
        consumer.subscribe(List.of(topic));
        Check.eventually("the consumer has partitions", () -> {
            consumer.poll(Duration.ofMillis(100));
            return !consumer.assignment().isEmpty();
        });
        return consumer;
    }

    private static void checkCommitted(
            KafkaConsumer<String, String> consumer,
            Map<TopicPartition, OffsetAndMetadata> offsets,
            TopicPartition without) {
        for (var entry : offsets.entrySet()) {
            var found = consumer.committed(Set.of(entry.getKey())).get(entry.getKey());
            Check.equal("committed in " + entry.getKey(), entry.getValue(), found);
            Check.equal("metadata in " + entry.getKey(), entry.getValue().metadata(), found.metadata());
        }
        Check.equal("committed in " + without, null, consumer.committed(Set.of(without)).get(without));
    }

    private static void checkCommitFails(KafkaConsumer<String, String> consumer, TopicPartition partition) {
        Check.fails(CommitFailedException.class, () -> {
            consumer.commitSync(Map.of(partition, new OffsetAndMetadata(5)));
            return null;
        });
    }
}
