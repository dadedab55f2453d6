package kafscale.clients;

import java.time.Duration;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.stream.Collectors;
import org.apache.kafka.common.TopicPartition;

/**
 * Who owns which partition of a group, as told by the members' rebalance callbacks.
 *
 * <p>A member gives a partition up before another gets it, in the eager and in the cooperative protocol: so a partition
 * with two owners at any moment is a violation, not only at a stable point.
 */
final class Ownership {
    /** Longer than two heartbeats of a member: a rebalance that goes on would show within it. */
    private static final Duration STABLE = Duration.ofSeconds(1);

    private final Map<TopicPartition, GroupMember> owners = new ConcurrentHashMap<>();
    private final Queue<String> violations = new ConcurrentLinkedQueue<>();

    void take(GroupMember member, Collection<TopicPartition> partitions) {
        for (TopicPartition partition : partitions) {
            if (owners.putIfAbsent(partition, member) != null) {
                violations.add(partition + " was given to a member while another one owned it");
            }
        }
    }

    void release(GroupMember member, Collection<TopicPartition> partitions) {
        partitions.forEach(partition -> owners.remove(partition, member));
    }

    void release(GroupMember member) {
        owners.values().removeIf(owner -> owner == member);
    }

    /** Waits until the members own all partitions, each exactly one, everyone something, and stay so for a second. */
    void awaitStable(Collection<TopicPartition> partitions, List<GroupMember> members) throws InterruptedException {
        boolean stable = false;
        while (!stable) {
            Check.eventually("partitions " + describe(members), () -> isComplete(partitions, members));
            List<Set<TopicPartition>> before = members.stream().map(GroupMember::owned).toList();
            Thread.sleep(STABLE.toMillis());
            stable = before.equals(members.stream().map(GroupMember::owned).toList());
        }
        checkViolations();
    }

    void checkViolations() {
        Check.equal("partitions with two owners", List.of(), List.copyOf(violations));
    }

    private static boolean isComplete(Collection<TopicPartition> partitions, List<GroupMember> members) {
        for (GroupMember member : members) {
            Check.that(member.failure() == null, "a member failed: " + member.failure());
        }
        List<TopicPartition> owned = members.stream().flatMap(member -> member.owned().stream()).toList();
        return members.stream().noneMatch(member -> member.owned().isEmpty())
                && owned.size() == partitions.size()
                && Set.copyOf(owned).equals(Set.copyOf(partitions))
                && members.stream().map(GroupMember::generation).distinct().count() == 1;
    }

    private static String describe(List<GroupMember> members) {
        return members.size() == 1 ? "go to the only member" : members.stream()
                .map(member -> member.owned().toString())
                .collect(Collectors.joining(" ", "spread over " + members.size() + " members, first ", ""));
    }
}
