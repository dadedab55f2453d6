package kafscale.clients;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;

/** One consumer of a group, polling in a thread of its own; says what it owns, what it has seen and how it fared. */
final class GroupMember implements AutoCloseable, ConsumerRebalanceListener {
    private static final Duration POLL = Duration.ofMillis(100);
    private static final long CLOSE_MILLISECONDS_MAX = 40_000;

    private final KafkaConsumer<String, String> consumer;
    private final Ownership ownership;
    private final Thread thread;
    private final Queue<ConsumerRecord<String, String>> seen = new ConcurrentLinkedQueue<>();
    private final AtomicInteger callbacks = new AtomicInteger();
    private volatile Set<TopicPartition> owned = Set.of();
    private volatile int generation = -1;
    private volatile boolean stopping;
    private volatile Exception failure;

    private GroupMember(KafkaConsumer<String, String> consumer, String topic, Ownership ownership) {
        this.consumer = consumer;
        this.ownership = ownership;
        this.thread = new Thread(() -> run(topic), "group member");
        thread.setDaemon(true);
        thread.start();
    }

    /** Joins a group; heartbeats are frequent, so that a member learns of a rebalance soon. */
    static GroupMember join(Cluster cluster, String group, String topic, Ownership ownership, Object... settings) {
        List<Object> all = new ArrayList<>(List.of(
                "group.id", group,
                "auto.offset.reset", "earliest",
                "heartbeat.interval.ms", 300));
        all.addAll(List.of(settings));
        return new GroupMember(cluster.consumer(all.toArray()), topic, ownership);
    }

    /** What it owned after its latest poll. */
    Set<TopicPartition> owned() {
        return owned;
    }

    /** The generation it was in after its latest poll. */
    int generation() {
        return generation;
    }

    /** How often its rebalance callbacks have run. */
    int callbacks() {
        return callbacks.get();
    }

    Collection<ConsumerRecord<String, String>> seen() {
        return seen;
    }

    /** What ended its polling, or null. */
    Exception failure() {
        return failure;
    }

    /** Stops polling and closes the consumer: a dynamic member leaves the group, a static one does not. */
    @Override
    public void close() throws InterruptedException {
        stopping = true;
        thread.join(CLOSE_MILLISECONDS_MAX);
        Check.that(!thread.isAlive(), "a consumer did not close within " + CLOSE_MILLISECONDS_MAX + " ms");
        ownership.release(this);
    }

    @Override
    public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
        callbacks.incrementAndGet();
        ownership.take(this, partitions);
    }

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
        callbacks.incrementAndGet();
        ownership.release(this, partitions);
    }

    @Override
    public void onPartitionsLost(Collection<TopicPartition> partitions) {
        callbacks.incrementAndGet();
        ownership.release(this, partitions);
    }

    private void run(String topic) {
        try (consumer) {
            consumer.subscribe(List.of(topic), this);
            while (!stopping) {
                consumer.poll(POLL).forEach(seen::add);
                owned = Set.copyOf(consumer.assignment());
                generation = consumer.groupMetadata().generationId();
            }
        } catch (Exception problem) {
            failure = problem;
        } finally {
            owned = Set.of();
        }
    }
}
