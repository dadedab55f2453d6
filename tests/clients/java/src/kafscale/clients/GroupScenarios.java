package kafscale.clients;

import java.time.Duration;
import java.util.EnumSet;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.GroupListing;
import org.apache.kafka.clients.admin.ListGroupsOptions;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.RangeAssignor;
import org.apache.kafka.clients.consumer.StickyAssignor;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.GroupType;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.FencedInstanceIdException;
import org.apache.kafka.common.errors.GroupIdNotFoundException;

/** Classic consumer groups: rebalances under load with every assignor, static members, groups with several topics. */
final class GroupScenarios {
    private static final int PARTITIONS = 6;

    private GroupScenarios() {}

    @Scenario
    static void growAndShrinkWithRange(Cluster cluster) throws Exception {
        growAndShrink(cluster, RangeAssignor.class, "range");
    }

    @Scenario
    static void growAndShrinkWithSticky(Cluster cluster) throws Exception {
        growAndShrink(cluster, StickyAssignor.class, "sticky");
    }

    @Scenario
    static void growAndShrinkWithCooperativeSticky(Cluster cluster) throws Exception {
        growAndShrink(cluster, CooperativeStickyAssignor.class, "cooperative-sticky");
    }

    @Scenario
    static void memberThatVanishesIsReplaced(Cluster cluster) throws Exception {
        String topic = cluster.topic(PARTITIONS);
        String group = cluster.unique("group");
        Ownership ownership = new Ownership();
        // It joins as a member and then does not poll again: its poll interval ends, and it leaves.
        try (KafkaConsumer<String, String> silent =
                cluster.consumer("group.id", group, "max.poll.interval.ms", 2_000, "heartbeat.interval.ms", 300)) {
            joinBySubscription(silent, topic);
            try (var member = GroupMember.join(cluster, group, topic, ownership)) {
                ownership.awaitStable(Cluster.partitions(topic, PARTITIONS), List.of(member));
            }
        }
    }

    @Scenario
    static void newPartitionsReachTheGroup(Cluster cluster) throws Exception {
        String topic = cluster.topic(2);
        Ownership ownership = new Ownership();
        try (var member =
                GroupMember.join(cluster, cluster.unique("group"), topic, ownership, "metadata.max.age.ms", 500)) {
            ownership.awaitStable(Cluster.partitions(topic, 2), List.of(member));
            var request = Map.of(topic, NewPartitions.increaseTo(5));
            cluster.admin().createPartitions(request).all().get();
            ownership.awaitStable(Cluster.partitions(topic, 5), List.of(member));
        }
    }

    @Scenario
    static void groupResumesWhereItStopped(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        String group = cluster.unique("group");
        Workload.fill(cluster, topic, 60);
        for (int run = 0; run < 3; run++) {
            try (var consumer = cluster.consumer(
                    "group.id", group, "auto.offset.reset", "earliest", "max.poll.records", 20)) {
                consumer.subscribe(List.of(topic));
                // Closing commits what was polled.
                List<String> values = Workload.values(Workload.read(consumer, 20));
                Check.equal("values of run " + run, Workload.expectedValues(20 * run, 20 * run + 20), values);
            }
        }
    }

    @Scenario
    static void staticFollowerRestartsWithoutRebalance(Cluster cluster) throws Exception {
        staticRestart(cluster, 1);
    }

    @Scenario
    static void staticLeaderRestartsWithoutRebalance(Cluster cluster) throws Exception {
        staticRestart(cluster, 0);
    }

    @Scenario
    static void secondConsumerWithTheSameInstanceIdFencesTheFirst(Cluster cluster) throws Exception {
        String topic = cluster.topic(2);
        String group = cluster.unique("group");
        Object[] identity = {"group.instance.id", "instance"};
        Ownership unchecked = new Ownership();
        try (var first = GroupMember.join(cluster, group, topic, unchecked, identity)) {
            unchecked.awaitStable(Cluster.partitions(topic, 2), List.of(first));
            try (var second = GroupMember.join(cluster, group, topic, new Ownership(), identity)) {
                Check.eventually("the first member ends", first::failure, failure -> failure != null);
                Check.equal("why the first member ended", FencedInstanceIdException.class, first.failure().getClass());
                new Ownership().awaitStable(Cluster.partitions(topic, 2), List.of(second));
            }
        }
    }

    @Scenario
    static void describeAndList(Cluster cluster) throws Exception {
        String topic = cluster.topic(2);
        String group = cluster.unique("group");
        Ownership ownership = new Ownership();
        try (var first = GroupMember.join(cluster, group, topic, ownership, "client.id", "first");
                var second = GroupMember.join(cluster, group, topic, ownership, "client.id", "second")) {
            ownership.awaitStable(Cluster.partitions(topic, 2), List.of(first, second));
            ConsumerGroupDescription described = describe(cluster, group);
            Check.equal("state", GroupState.STABLE, described.groupState());
            Check.equal("type", GroupType.CLASSIC, described.type());
            Check.equal("assignor", "range", described.partitionAssignor());
            Check.that(!described.coordinator().isEmpty(), "a group has a coordinator");
            Check.equal("members", 2, described.members().size());
            Set<TopicPartition> assigned = new HashSet<>();
            for (var member : described.members()) {
                Check.that(List.of("first", "second").contains(member.clientId()), "client id " + member.clientId());
                Check.that(member.consumerId().startsWith(member.clientId() + "-"), "member id " + member.consumerId());
                Check.that(member.host().contains("127.0.0.1"), "host " + member.host());
                var owner = member.clientId().equals("first") ? first : second;
                Check.equal("partitions of " + member.clientId(), owner.owned(), member.assignment().topicPartitions());
                assigned.addAll(member.assignment().topicPartitions());
            }
            Check.equal("all partitions", Set.copyOf(Cluster.partitions(topic, 2)), assigned);
            checkListed(cluster, group, GroupState.STABLE);
        }
        ConsumerGroupDescription after = Check.eventually(
                "the group is empty", () -> describe(cluster, group), seen -> seen.groupState() == GroupState.EMPTY);
        Check.equal("members", 0, after.members().size());
        checkListed(cluster, group, GroupState.EMPTY);
    }

    @Scenario
    static void describeUnknownGroup(Cluster cluster) throws Exception {
        Check.fails(
                GroupIdNotFoundException.class,
                () -> describe(cluster, cluster.unique("absent")));
    }

    private static void growAndShrink(Cluster cluster, Class<?> assignor, String name) throws Exception {
        String topic = cluster.topic(PARTITIONS);
        String group = cluster.unique("group");
        List<TopicPartition> partitions = Cluster.partitions(topic, PARTITIONS);
        Object[] settings = {"partition.assignment.strategy", assignor.getName()};
        Ownership ownership = new Ownership();
        Set<String> seen = new HashSet<>();
        int sent;
        try (Traffic traffic = new Traffic(cluster, topic);
                var first = GroupMember.join(cluster, group, topic, ownership, settings)) {
            ownership.awaitStable(partitions, List.of(first));
            try (var second = GroupMember.join(cluster, group, topic, ownership, settings);
                    var third = GroupMember.join(cluster, group, topic, ownership, settings)) {
                ownership.awaitStable(partitions, List.of(first, second, third));
                for (GroupMember member : List.of(first, second, third)) {
                    Check.equal("a third of the partitions", PARTITIONS / 3, member.owned().size());
                }
                Check.equal("assignor", name, describe(cluster, group).partitionAssignor());
                second.close();
                ownership.awaitStable(partitions, List.of(first, third));
                third.close();
                collect(seen, second);
                collect(seen, third);
            }
            ownership.awaitStable(partitions, List.of(first));
            sent = traffic.stop();
            Check.eventually("all " + sent + " records were seen", () -> {
                collect(seen, first);
                return seen.size() >= sent;
            });
        }
        Check.equal("different records seen", sent, seen.size());
        ownership.checkViolations();
    }

    private static void staticRestart(Cluster cluster, int restarted) throws Exception {
        String topic = cluster.topic(4);
        String group = cluster.unique("group");
        List<TopicPartition> partitions = Cluster.partitions(topic, 4);
        Ownership ownership = new Ownership();
        // The first to join leads the group.
        GroupMember[] members = new GroupMember[2];
        members[0] = joinStatic(cluster, group, topic, 0, ownership);
        ownership.awaitStable(partitions, List.of(members[0]));
        members[1] = joinStatic(cluster, group, topic, 1, ownership);
        ownership.awaitStable(partitions, List.of(members));

        GroupMember other = members[1 - restarted];
        int callbacksBefore = other.callbacks();
        int generationBefore = other.generation();
        Set<TopicPartition> ownedBefore = members[restarted].owned();
        members[restarted].close();
        members[restarted] = joinStatic(cluster, group, topic, restarted, ownership);
        ownership.awaitStable(partitions, List.of(members));
        Check.equal("partitions after the restart", ownedBefore, members[restarted].owned());
        Check.equal("callbacks of the other member", callbacksBefore, other.callbacks());
        Check.equal("generation", generationBefore, other.generation());
        for (GroupMember member : members) {
            member.close();
        }
    }

    private static GroupMember joinStatic(
            Cluster cluster, String group, String topic, int index, Ownership ownership) {
        Object[] settings = {"group.instance.id", "instance-" + index, "session.timeout.ms", 40_000};
        return GroupMember.join(cluster, group, topic, ownership, settings);
    }

    private static void joinBySubscription(KafkaConsumer<String, String> consumer, String topic) throws Exception {
        consumer.subscribe(List.of(topic));
        Check.eventually("the consumer has partitions", () -> {
            consumer.poll(Duration.ofMillis(100));
            return !consumer.assignment().isEmpty();
        });
    }

    private static void collect(Set<String> seen, GroupMember member) {
        member.seen().forEach(record -> seen.add(record.value()));
    }

    private static ConsumerGroupDescription describe(Cluster cluster, String group) throws Exception {
        return cluster.admin().describeConsumerGroups(List.of(group)).describedGroups().get(group).get();
    }

    private static void checkListed(Cluster cluster, String group, GroupState state) throws Exception {
        GroupListing listing = cluster.admin().listGroups().all().get().stream()
                .filter(one -> one.groupId().equals(group))
                .findFirst()
                .orElseThrow(() -> new AssertionError("group " + group + " is not listed"));
        Check.equal("listed state", state, listing.groupState().orElseThrow());
        Check.equal("listed type", GroupType.CLASSIC, listing.type().orElseThrow());
        Check.equal("protocol type", "consumer", listing.protocol());
        Check.that(groupIds(cluster, ListGroupsOptions.forConsumerGroups()).contains(group), "a consumer group");
        Set<GroupState> others = EnumSet.complementOf(EnumSet.of(state, GroupState.UNKNOWN));
        Set<String> elsewhere = groupIds(cluster, new ListGroupsOptions().inGroupStates(others));
        Check.that(!elsewhere.contains(group), "listed under another state than " + state);
    }

    private static Set<String> groupIds(Cluster cluster, ListGroupsOptions options) throws Exception {
        return cluster.admin().listGroups(options).all().get().stream()
                .map(GroupListing::groupId)
                .collect(Collectors.toSet());
    }

    /** Sends numbered values, all different, until it is stopped. */
    private static final class Traffic implements AutoCloseable {
        private static final int PAUSE_MILLISECONDS = 5;

        private final KafkaProducer<String, String> producer;
        private final AtomicBoolean stopping = new AtomicBoolean();
        private final AtomicInteger acknowledged = new AtomicInteger();
        private final Thread thread;
        private volatile Exception failure;
        private int sent;

        Traffic(Cluster cluster, String topic) {
            producer = cluster.producer();
            thread = new Thread(() -> run(topic), "traffic");
            thread.start();
        }

        /** Stops and returns how many records were sent, all of them acknowledged. */
        int stop() throws InterruptedException {
            close();
            Check.that(failure == null, "traffic failed: " + failure);
            Check.equal("acknowledged records", sent, acknowledged.get());
            return sent;
        }

        @Override
        public void close() throws InterruptedException {
            stopping.set(true);
            thread.join();
            producer.close();
        }

        private void run(String topic) {
            try {
                while (!stopping.get()) {
                    var record = new ProducerRecord<>(topic, sent % PARTITIONS, "key", "value-" + sent);
                    producer.send(record, (metadata, problem) -> {
                        if (problem == null) {
                            acknowledged.incrementAndGet();
                        }
                    });
                    sent++;
                    Thread.sleep(PAUSE_MILLISECONDS);
                }
            } catch (Exception problem) {
                failure = problem;
            }
        }
    }
}
