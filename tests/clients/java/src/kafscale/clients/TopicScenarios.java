package kafscale.clients;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.CreateTopicsOptions;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicCollection;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.InvalidReplicationFactorException;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicIdException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;

/** Life of a topic through the AdminClient: create, describe, grow, delete, create again. */
final class TopicScenarios {
    private TopicScenarios() {}

    @Scenario
    static void createWithConfigs(Cluster cluster) throws Exception {
        String topic = cluster.unique("topic");
        var configs = Map.of("retention.ms", "3600000", "cleanup.policy", "compact", "max.message.bytes", "2000000");
        var request = new NewTopic(topic, 3, (short) 1).configs(configs);
        var created = cluster.admin().createTopics(List.of(request));
        created.all().get();
        Check.equal("partitions in the answer", 3, created.numPartitions(topic).get());
        Check.equal("replication factor in the answer", 1, created.replicationFactor(topic).get());
        Check.equal("config in the answer", "3600000", created.config(topic).get().get("retention.ms").value());
        Check.that(!created.topicId(topic).get().equals(Uuid.ZERO_UUID), "a topic has an id");

        cluster.awaitTopic(topic, 3);
        checkOwnConfig(cluster, topic, "retention.ms", "3600000");
        checkOwnConfig(cluster, topic, "cleanup.policy", "compact");
        checkOwnConfig(cluster, topic, "max.message.bytes", "2000000");
    }

    @Scenario
    static void createWithDefaultPartitionsAndReplication(Cluster cluster) throws Exception {
        String topic = cluster.unique("topic");
        var created = cluster.admin().createTopics(List.of(new NewTopic(topic, Optional.empty(), Optional.empty())));
        int partitions = created.numPartitions(topic).get();
        Check.that(partitions >= 1, "default partitions are " + partitions);
        Check.equal("default replication factor", 1, created.replicationFactor(topic).get());
        cluster.awaitTopic(topic, partitions);
    }

    @Scenario
    static void createExisting(Cluster cluster) throws Exception {
        String topic = cluster.topic(2);
        Uuid before = cluster.describe(topic).topicId();
        Check.fails(TopicExistsException.class, () -> createNow(cluster, new NewTopic(topic, 5, (short) 1)));
        Check.equal("topic is untouched", before, cluster.awaitTopic(topic, 2).topicId());
    }

    @Scenario
    static void createInvalidNames(Cluster cluster) throws Exception {
        for (String name : List.of(".", "..", "with space", "slash/ed", "žába", "x".repeat(250), "")) {
            Check.fails(InvalidTopicException.class, () -> createNow(cluster, new NewTopic(name, 1, (short) 1)));
        }
    }

    @Scenario
    static void createWithTheLongestName(Cluster cluster) throws Exception {
        String stem = cluster.unique("._-Topic");
        cluster.create(stem + "x".repeat(249 - stem.length()), 1);
    }

    @Scenario
    static void createInvalidPartitionsAndReplication(Cluster cluster) throws Exception {
        for (int partitions : new int[] {0, -2}) {
            var request = new NewTopic(cluster.unique("topic"), partitions, (short) 1);
            Check.fails(InvalidPartitionsException.class, () -> createNow(cluster, request));
        }
        for (short factor : new short[] {0, -2}) {
            var request = new NewTopic(cluster.unique("topic"), 1, factor);
            Check.fails(InvalidReplicationFactorException.class, () -> createNow(cluster, request));
        }
    }

    @Scenario
    static void createInvalidConfig(Cluster cluster) throws Exception {
        for (var config : List.of(Map.of("no.such.config", "1"), Map.of("retention.ms", "a while"))) {
            var request = new NewTopic(cluster.unique("topic"), 1, (short) 1).configs(config);
            Check.fails(InvalidConfigurationException.class, () -> createNow(cluster, request));
        }
    }

    @Scenario
    static void oneBadTopicDoesNotSpoilTheOthers(Cluster cluster) throws Exception {
        String good = cluster.unique("topic");
        var created = cluster.admin()
                .createTopics(List.of(new NewTopic(good, 1, (short) 1), new NewTopic("bad name", 1, (short) 1)));
        created.values().get(good).get();
        Check.fails(InvalidTopicException.class, () -> created.values().get("bad name").get());
        cluster.awaitTopic(good, 1);
    }

    @Scenario
    static void validateOnlyCreatesNothing(Cluster cluster) throws Exception {
        String topic = cluster.unique("topic");
        String existing = cluster.topic(1);
        var validateOnly = new CreateTopicsOptions().validateOnly(true);
        var request = new NewTopic(topic, 2, (short) 1);
        cluster.admin().createTopics(List.of(request), validateOnly).all().get();
        Check.that(!cluster.admin().listTopics().names().get().contains(topic), "validateOnly created the topic");
        Check.fails(UnknownTopicOrPartitionException.class, () -> cluster.describe(topic));
        var taken = List.of(new NewTopic(existing, 1, (short) 1));
        Check.fails(
                TopicExistsException.class,
                () -> cluster.admin().createTopics(taken, validateOnly).all().get());
    }

    @Scenario
    static void listAndDescribe(Cluster cluster) throws Exception {
        String topic = cluster.unique("topic");
        Uuid id = cluster.create(topic, 3);
        var listing = cluster.admin().listTopics().namesToListings().get().get(topic);
        Check.equal("id in the listing", id, listing.topicId());
        Check.equal("internal", false, listing.isInternal());

        TopicDescription described = cluster.describe(topic);
        Check.equal("name", topic, described.name());
        Check.equal("id", id, described.topicId());
        Check.that(!id.equals(Uuid.ZERO_UUID), "the id must not be zero");
        for (int index = 0; index < 3; index++) {
            var partition = described.partitions().get(index);
            Check.equal("partition index", index, partition.partition());
            Check.that(partition.replicas().contains(partition.leader()), "the leader is a replica");
            Check.that(partition.isr().contains(partition.leader()), "the leader is in sync");
        }
        var byId = cluster.admin().describeTopics(TopicCollection.ofTopicIds(List.of(id)));
        Check.equal("described by id", topic, byId.topicIdValues().get(id).get().name());
    }

    @Scenario
    static void describeUnknown(Cluster cluster) throws Exception {
        Check.fails(UnknownTopicOrPartitionException.class, () -> cluster.describe(cluster.unique("absent")));
        Uuid id = Uuid.randomUuid();
        var byId = cluster.admin().describeTopics(TopicCollection.ofTopicIds(List.of(id)));
        Check.fails(UnknownTopicIdException.class, () -> byId.topicIdValues().get(id).get());
    }

    @Scenario
    static void createPartitions(Cluster cluster) throws Exception {
        String topic = cluster.topic(2);
        var before = Workload.fill(cluster, topic, 10);
        grow(cluster, topic, 5);
        cluster.awaitTopic(topic, 5);
        Workload.verify(before, Workload.readAll(cluster, topic));
        try (var producer = cluster.producer()) {
            var metadata = producer.send(new ProducerRecord<>(topic, 4, "key", "value")).get();
            Check.equal("first offset in a new partition", 0L, metadata.offset());
        }
        Check.equal("records", 11, Workload.readAll(cluster, topic).size());
        Check.fails(InvalidPartitionsException.class, () -> grow(cluster, topic, 5));
        Check.fails(InvalidPartitionsException.class, () -> grow(cluster, topic, 3));
        Check.fails(UnknownTopicOrPartitionException.class, () -> grow(cluster, cluster.unique("absent"), 3));
    }

    @Scenario
    static void deleteByName(Cluster cluster) throws Exception {
        String topic = cluster.topic(2);
        Workload.fill(cluster, topic, 10);
        deleteAndAwait(cluster, TopicCollection.ofTopicNames(List.of(topic)), topic);
        Check.fails(
                UnknownTopicOrPartitionException.class,
                () -> cluster.admin().deleteTopics(List.of(topic)).all().get());
    }

    @Scenario
    static void deleteById(Cluster cluster) throws Exception {
        String topic = cluster.unique("topic");
        Uuid id = cluster.create(topic, 2);
        var byId = TopicCollection.ofTopicIds(List.of(id));
        deleteAndAwait(cluster, byId, topic);
        Check.fails(
                UnknownTopicIdException.class,
                () -> cluster.admin().deleteTopics(byId).all().get());
    }

    @Scenario
    static void recreatedTopicStartsAfresh(Cluster cluster) throws Exception {
        String topic = cluster.unique("topic");
        Uuid before = cluster.create(topic, 3);
        Workload.fill(cluster, topic, 100);
        deleteAndAwait(cluster, TopicCollection.ofTopicNames(List.of(topic)), topic);
        Uuid after = cluster.create(topic, 1);
        Check.that(!before.equals(after), "a topic created again has a new id");
        Check.equal("records after creating it again", 0, Workload.readAll(cluster, topic).size());
        var sent = Workload.fill(cluster, topic, 10);
        Check.equal("first offset", 0L, sent.get(0).metadata().offset());
        Workload.verify(sent, Workload.readAll(cluster, topic));
    }

    @Scenario
    static void producerOutlivesItsTopic(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        try (var producer = cluster.producer()) {
            Workload.send(producer, Workload.onePartition(topic, 10));
            deleteAndAwait(cluster, TopicCollection.ofTopicNames(List.of(topic)), topic);
            cluster.create(topic, 1);
            // The client still holds the old topic id and its sequence numbers.
            var sent = Workload.send(producer, Workload.onePartition(topic, 10));
            Workload.verify(sent, Workload.readAll(cluster, topic));
        }
    }

    @Scenario
    static void producerCreatesMissingTopic(Cluster cluster) throws Exception {
        String topic = cluster.unique("auto");
        List<Workload.Sent> sent = new ArrayList<>();
        try (var producer = cluster.producer()) {
            // The first alone, see Cluster.create.
            List<ProducerRecord<String, String>> records = Workload.keyed(topic, 100);
            sent.addAll(Workload.send(producer, records.subList(0, 1)));
            sent.addAll(Workload.send(producer, records.subList(1, 100)));
        }
        Check.that(cluster.admin().listTopics().names().get().contains(topic), "the topic is listed");
        Workload.verify(sent, Workload.readAll(cluster, topic));
    }

    @Scenario
    static void consumerCreatesMissingTopic(Cluster cluster) throws Exception {
        String topic = cluster.unique("auto");
        try (var consumer = cluster.consumer("group.id", cluster.unique("group"), "allow.auto.create.topics", true)) {
            consumer.subscribe(List.of(topic));
            Check.eventually("the topic exists", () -> {
                consumer.poll(Duration.ofMillis(100));
                return cluster.admin().listTopics().names().get().contains(topic);
            });
        }
    }

    @Scenario
    static void consumerDoesNotCreateMissingTopicWhenToldSo(Cluster cluster) throws Exception {
        String topic = cluster.unique("absent");
        try (var consumer = cluster.consumer("group.id", cluster.unique("group"), "allow.auto.create.topics", false)) {
            consumer.subscribe(List.of(topic));
            for (int round = 0; round < 20; round++) {
                Check.equal("records", 0, consumer.poll(Duration.ofMillis(100)).count());
            }
            Check.equal("partitions", List.of(), consumer.partitionsFor(topic));
            Check.equal("assignment", Set.of(), consumer.assignment());
        }
        Check.that(!cluster.admin().listTopics().names().get().contains(topic), "the topic was created");
    }

    private static Void createNow(Cluster cluster, NewTopic request) throws Exception {
        return cluster.admin().createTopics(List.of(request)).all().get();
    }

    private static Void grow(Cluster cluster, String topic, int partitions) throws Exception {
        var request = Map.of(topic, NewPartitions.increaseTo(partitions));
        return cluster.admin().createPartitions(request).all().get();
    }

    private static void deleteAndAwait(Cluster cluster, TopicCollection topics, String name) throws Exception {
        cluster.admin().deleteTopics(topics).all().get();
        Check.eventually("topic " + name + " is gone", () -> {
            try {
                cluster.describe(name);
                return false;
            } catch (ExecutionException failure) {
                return failure.getCause() instanceof UnknownTopicOrPartitionException;
            }
        });
    }

    private static void checkOwnConfig(Cluster cluster, String topic, String name, String value) throws Exception {
        var resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        ConfigEntry entry = cluster.admin().describeConfigs(List.of(resource)).all().get().get(resource).get(name);
        Check.equal(name, value, entry.value());
        Check.equal(name + " source", ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, entry.source());
    }
}
