package kafscale.clients;

import java.time.Duration;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.UUID;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * The server under test: makes clients for it, names nobody else uses, and topics that are ready.
 *
 * <p>Clients get Kafka's default settings and nothing else, except what a scenario names: that defaults work unchanged
 * is what is being tested.
 */
final class Cluster implements AutoCloseable {
    private final String bootstrap;
    private final Admin admin;

    Cluster(String bootstrap) {
        this.bootstrap = bootstrap;
        this.admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
    }

    String bootstrap() {
        return bootstrap;
    }

    /** One admin client, shared by all scenarios. */
    Admin admin() {
        return admin;
    }

    /** A name of a topic or group that nothing else uses. */
    String unique(String prefix) {
        return prefix + "-" + UUID.randomUUID().toString().substring(0, 13);
    }

    /** A producer of strings; settings are name, value, name, value. */
    KafkaProducer<String, String> producer(Object... settings) {
        return new KafkaProducer<>(configuration(settings), new StringSerializer(), new StringSerializer());
    }

    /** A consumer of strings; settings are name, value, name, value. */
    KafkaConsumer<String, String> consumer(Object... settings) {
        return new KafkaConsumer<>(configuration(settings), new StringDeserializer(), new StringDeserializer());
    }

    /** Creates a topic under a new name, waits until it can be used, and returns its name. */
    String topic(int partitions, String... configs) throws Exception {
        String topic = unique("topic");
        create(topic, partitions, configs);
        return topic;
    }

    /**
     * Creates a topic, waits until it can be used, and returns its id.
     *
     * <p>Apache Kafka answers and describes a topic before its partitions take records. A producer that hurries can
     * then lose its first batch to UNKNOWN_TOPIC_OR_PARTITION while its second is accepted, and never gets out of that.
     */
    Uuid create(String topic, int partitions, String... configs) throws Exception {
        NewTopic request = new NewTopic(topic, Optional.of(partitions), Optional.empty());
        Map<String, String> settings = new HashMap<>();
        for (int at = 0; at < configs.length; at += 2) {
            settings.put(configs[at], configs[at + 1]);
        }
        Uuid id = admin.createTopics(List.of(request.configs(settings))).topicId(topic).get();
        awaitTopic(topic, partitions);
        awaitWritable(topic, partitions);
        return id;
    }

    /** Waits until the topic is described with this many partitions, each with a leader. */
    TopicDescription awaitTopic(String topic, int partitions) throws InterruptedException {
        return Check.eventually(
                "topic " + topic + " has " + partitions + " partitions with leaders",
                () -> describe(topic),
                described -> described.partitions().size() == partitions
                        && described.partitions().stream().allMatch(partition -> partition.leader() != null));
    }

    /** Waits until the broker holds each partition: it can tell their end offsets only then. */
    private void awaitWritable(String topic, int partitions) throws Exception {
        Map<TopicPartition, OffsetSpec> latest = new HashMap<>();
        partitions(topic, partitions).forEach(partition -> latest.put(partition, OffsetSpec.latest()));
        admin.listOffsets(latest).all().get();
    }

    TopicDescription describe(String topic) throws Exception {
        return admin.describeTopics(List.of(topic)).topicNameValues().get(topic).get();
    }

    static List<TopicPartition> partitions(String topic, int count) {
        return IntStream.range(0, count).mapToObj(index -> new TopicPartition(topic, index)).toList();
    }

    @Override
    public void close() {
        admin.close(Duration.ofSeconds(5));
    }

    private Map<String, Object> configuration(Object... settings) {
        Check.that(settings.length % 2 == 0, "settings come in pairs: " + Arrays.toString(settings));
        Map<String, Object> configuration = new HashMap<>();
        configuration.put("bootstrap.servers", bootstrap);
        for (int at = 0; at < settings.length; at += 2) {
            configuration.put((String) settings[at], settings[at + 1]);
        }
        return configuration;
    }
}
