package kafscale.clients;

import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.common.errors.TransactionalIdAuthorizationException;

/** Where KafScale means to differ from a single Apache Kafka node; not run against the latter. */
final class KafscaleScenarios {
    private KafscaleScenarios() {}

    @Scenario
    static void replicationFactorThreeIsAccepted(Cluster cluster) throws Exception {
        String topic = cluster.unique("topic");
        var request = new NewTopic(topic, 2, (short) 3).configs(Map.of("min.insync.replicas", "2"));
        cluster.admin().createTopics(List.of(request)).all().get();
        for (var partition : cluster.awaitTopic(topic, 2).partitions()) {
            Check.that(partition.replicas().contains(partition.leader()), "the leader is a replica");
            Check.that(partition.isr().contains(partition.leader()), "the leader is in sync");
        }
        var sent = Workload.fill(cluster, topic, 100);
        Workload.verify(sent, Workload.readAll(cluster, topic));
    }

    @Scenario
    static void topicTakesABurstTheMomentItIsCreated(Cluster cluster) throws Exception {
        String topic = cluster.unique("topic");
        cluster.admin().createTopics(List.of(new NewTopic(topic, 60, (short) 1))).all().get();
        List<Workload.Sent> sent;
        try (var producer = cluster.producer("batch.size", 200)) {
            sent = Workload.send(producer, Workload.keyed(topic, 6_000));
        }
        Workload.verify(sent, Workload.readAll(cluster, topic));
    }

    @Scenario
    static void missingTopicIsCreatedByABurst(Cluster cluster) throws Exception {
        String topic = cluster.unique("auto");
        List<Workload.Sent> sent;
        try (var producer = cluster.producer("batch.size", 200)) {
            sent = Workload.send(producer, Workload.keyed(topic, 1_000));
        }
        Workload.verify(sent, Workload.readAll(cluster, topic));
    }

    @Scenario
    static void transactionsAreRefusedClearly(Cluster cluster) throws Exception {
        try (var producer = cluster.producer("transactional.id", cluster.unique("transaction"))) {
            Check.fails(TransactionalIdAuthorizationException.class, () -> {
                producer.initTransactions();
                return null;
            });
        }
        // Only transactions are refused: the idempotent producer, which uses the same API, goes on.
        String topic = cluster.topic(1);
        Workload.verify(Workload.fill(cluster, topic, 100), Workload.readAll(cluster, topic));
    }
}
