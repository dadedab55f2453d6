package main

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func init() {
	scenarios["group_range"] = func(r *run) { growAndShrink(r, kgo.RangeBalancer()) }
	scenarios["group_round_robin"] = func(r *run) { growAndShrink(r, kgo.RoundRobinBalancer()) }
	scenarios["group_sticky"] = func(r *run) { growAndShrink(r, kgo.StickyBalancer()) }
	scenarios["group_cooperative_sticky"] = func(r *run) { growAndShrink(r, kgo.CooperativeStickyBalancer()) }
	scenarios["group_server_side"] = serverSideGroup
	scenarios["static_membership"] = staticMembership
	scenarios["static_member_fenced"] = staticMemberFenced
	scenarios["list_describe_delete_group"] = listDescribeDeleteGroup
}

// groupWait covers Kafka's initial rebalance delay of 3 s and two rebalances.
const groupWait = 25 * time.Second

// member is one consumer of a group with what it owns and what it has read.
type member struct {
	cl   *kgo.Client
	stop context.CancelFunc
	over sync.WaitGroup

	mu      sync.Mutex
	owned   map[int32]bool
	changes int
	records []*kgo.Record
	errs    []error
}

func (r *run) join(group, topic string, opts ...kgo.Opt) *member {
	m := &member{owned: map[int32]bool{}}
	common := []kgo.Opt{
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.HeartbeatInterval(250 * time.Millisecond), shortWait,
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, added map[string][]int32) { m.change(added[topic], true) }),
		kgo.OnPartitionsRevoked(func(ctx context.Context, cl *kgo.Client, lost map[string][]int32) {
			m.note(cl.CommitUncommittedOffsets(ctx))
			m.change(lost[topic], false)
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, lost map[string][]int32) { m.change(lost[topic], false) }),
	}
	m.cl = r.client(append(common, opts...)...)
	ctx, cancel := context.WithCancel(r.ctx)
	m.stop = cancel
	m.over.Add(1)
	go m.read(ctx)
	r.cleanups = append(r.cleanups, cancel)
	return m
}

func (m *member) read(ctx context.Context) {
	defer m.over.Done()
	for ctx.Err() == nil {
		fetches := m.cl.PollFetches(ctx)
		m.mu.Lock()
		m.records = append(m.records, fetches.Records()...)
		m.mu.Unlock()
		for _, e := range fetches.Errors() {
			if !errors.Is(e.Err, context.Canceled) && !errors.Is(e.Err, kgo.ErrClientClosed) {
				m.note(e.Err)
			}
		}
	}
}

func (m *member) note(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.errs = append(m.errs, err)
	}
}

func (m *member) change(partitions []int32, mine bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.changes++
	for _, partition := range partitions {
		if mine {
			m.owned[partition] = true
		} else {
			delete(m.owned, partition)
		}
	}
}

// leave stops reading and leaves the group (a static member stays in it).
func (m *member) leave() {
	m.stop()
	m.over.Wait()
	m.cl.Close()
}

func (m *member) owns() []int32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	partitions := []int32{}
	for partition := range m.owned {
		partitions = append(partitions, partition)
	}
	sort.Slice(partitions, func(i, j int) bool { return partitions[i] < partitions[j] })
	return partitions
}

func (m *member) seen() ([]*kgo.Record, []error, int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]*kgo.Record(nil), m.records...), append([]error(nil), m.errs...), m.changes
}

// awaitShares waits until each partition has exactly one owner and each member has its even share.
func (r *run) awaitShares(members []*member, partitions int) {
	r.eventually(groupWait, func() string {
		owners := map[int32]int{}
		for i, m := range members {
			owned := m.owns()
			if len(owned) != partitions/len(members) {
				return fmt.Sprintf("member %d owns %v", i, owned)
			}
			for _, partition := range owned {
				owners[partition]++
			}
		}
		if len(owners) != partitions {
			return fmt.Sprintf("owners by partition: %v", owners)
		}
		return ""
	})
}

// growAndShrink takes a group from one member to three and back to one.
func growAndShrink(r *run, balancer kgo.GroupBalancer) {
	const partitions = 6
	topic, group := r.topic(partitions), r.unique("group")
	producer := r.client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	join := func() *member { return r.join(group, topic, kgo.Balancers(balancer)) }

	members := []*member{join()}
	r.awaitStable(group, balancer.ProtocolName(), members, partitions)
	produced := r.phase(producer, topic, members)
	members = append(members, join(), join())
	r.awaitStable(group, balancer.ProtocolName(), members, partitions)
	produced = append(produced, r.phase(producer, topic, members)...)
	members[1].leave()
	members[2].leave()
	r.awaitStable(group, balancer.ProtocolName(), members[:1], partitions)
	produced = append(produced, r.phase(producer, topic, members[:1])...)
	members[0].leave()

	r.everyRecordConsumed(members, produced)
	r.committedToTheEnd(group, topic)
}

// awaitStable also compares what the broker says of the group with what the members say.
func (r *run) awaitStable(group, protocol string, members []*member, partitions int) {
	r.awaitShares(members, partitions)
	admin := r.admin()
	r.eventually(groupWait, func() string {
		described := must(admin.DescribeGroups(r.ctx, group))[group]
		if described.Err != nil || described.State != "Stable" || len(described.Members) != len(members) {
			return fmt.Sprintf("group is %s with %d members, %v", described.State, len(described.Members), described.Err)
		}
		equal("protocol type", described.ProtocolType, "consumer")
		equal("protocol", described.Protocol, protocol)
		return differs(described, members)
	})
}

func differs(described kadm.DescribedGroup, members []*member) string {
	byID := map[string]kadm.DescribedGroupMember{}
	for _, m := range described.Members {
		byID[m.MemberID] = m
	}
	for i, m := range members {
		id, _ := m.cl.GroupMetadata()
		assigned, ok := byID[id].Assigned.AsConsumer()
		if !ok || len(assigned.Topics) != 1 {
			return fmt.Sprintf("member %d (%s) is described without an assignment", i, id)
		}
		partitions := append([]int32(nil), assigned.Topics[0].Partitions...)
		sort.Slice(partitions, func(i, j int) bool { return partitions[i] < partitions[j] })
		if fmt.Sprint(partitions) != fmt.Sprint(m.owns()) {
			return fmt.Sprintf("member %d owns %v, described with %v", i, m.owns(), partitions)
		}
	}
	return ""
}

// phase produces to every partition of a stable group and waits until each owner has read its share, once.
func (r *run) phase(producer *kgo.Client, topic string, members []*member) []*kgo.Record {
	records := inEachPartition(topic, 6, 120/6)
	r.produceAll(producer, records)
	r.eventually(consumeTimeout, func() string {
		counts := countByPlace(members)
		for _, record := range records {
			if counts[placeOf(record)] == 0 {
				return fmt.Sprintf("nobody has read %v", placeOf(record))
			}
		}
		return ""
	})
	counts := countByPlace(members)
	for _, record := range records {
		equal(fmt.Sprintf("deliveries of %v to a stable group", placeOf(record)), counts[placeOf(record)], 1)
	}
	return records
}

func countByPlace(members []*member) map[place]int {
	counts := map[place]int{}
	for _, m := range members {
		records, _, _ := m.seen()
		for _, record := range records {
			counts[placeOf(record)]++
		}
	}
	return counts
}

// everyRecordConsumed checks the content of all that was read, that nothing is missing and nobody saw an error.
func (r *run) everyRecordConsumed(members []*member, produced []*kgo.Record) {
	want := map[place]*kgo.Record{}
	for _, record := range produced {
		want[placeOf(record)] = record
	}
	for i, m := range members {
		records, errs, _ := m.seen()
		equal(fmt.Sprintf("errors of member %d", i), errs, []error(nil))
		for _, got := range records {
			isTrue(fmt.Sprintf("%v was produced", placeOf(got)), want[placeOf(got)] != nil)
			sameRecord(got, want[placeOf(got)])
		}
	}
	counts := countByPlace(members)
	for at := range want {
		isTrue(fmt.Sprintf("%v was consumed", at), counts[at] > 0)
	}
}

func (r *run) committedToTheEnd(group, topic string) {
	admin := r.admin()
	committed := must(admin.FetchOffsets(r.ctx, group))
	for partition, end := range must(admin.ListEndOffsets(r.ctx, topic))[topic] {
		equal(fmt.Sprintf("committed in %d", partition), committed[topic][partition].At, end.Offset)
	}
}

// serverSideGroup is the same with the broker as assignor (KIP-848).
func serverSideGroup(r *run) {
	const partitions = 6
	topic, group := r.topic(partitions), r.unique("group")
	producer := r.client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	join := func() *member { return r.join(group, topic, kgo.ServerSideBalancer()) }
	members := []*member{join()}
	r.awaitShares(members, partitions)
	produced := r.phase(producer, topic, members)
	members = append(members, join(), join())
	r.awaitShares(members, partitions)
	produced = append(produced, r.phase(producer, topic, members)...)
	described := must(r.admin().DescribeConsumerGroups(r.ctx, group))[group]
	check(described.Err)
	equal("state", described.State, "Stable")
	equal("members", len(described.Members), 3)
	members[1].leave()
	members[2].leave()
	r.awaitShares(members[:1], partitions)
	produced = append(produced, r.phase(producer, topic, members[:1])...)
	members[0].leave()
	r.everyRecordConsumed(members, produced)
	r.committedToTheEnd(group, topic)
}

// staticMembership: a member with an instance id leaves and returns; nobody's assignment moves (KIP-345).
func staticMembership(r *run) {
	const partitions = 4
	topic, group := r.topic(partitions), r.unique("group")
	join := func(id string) *member {
		return r.join(group, topic, kgo.InstanceID(id), kgo.SessionTimeout(30*time.Second))
	}
	a, b := join("a"), join("b")
	r.awaitStable(group, "cooperative-sticky", []*member{a, b}, partitions)
	ownedA, ownedB := a.owns(), b.owns()
	_, generation := b.cl.GroupMetadata()
	_, _, changes := b.seen()

	a.leave()
	time.Sleep(1500 * time.Millisecond) // several heartbeats of b, far from the session timeout of a
	equal("what b owns while a is away", b.owns(), ownedB)
	returned := join("a")
	r.awaitStable(group, "cooperative-sticky", []*member{returned, b}, partitions)
	equal("what a owns again", returned.owns(), ownedA)
	equal("what b owns", b.owns(), ownedB)
	_, after := b.cl.GroupMetadata()
	equal("generation", after, generation)
	_, _, changesAfter := b.seen()
	equal("assignments and revocations of b", changesAfter, changes)

	records := inEachPartition(topic, partitions, 10)
	r.produceAll(r.client(kgo.RecordPartitioner(kgo.ManualPartitioner())), records)
	r.eventually(consumeTimeout, func() string {
		if n := len(countByPlace([]*member{returned, b})); n < len(records) {
			return fmt.Sprintf("%d of %d records", n, len(records))
		}
		return ""
	})
	returned.leave()
	b.leave()
	r.removeStatic(group, "a", "b")
}

// removeStatic takes static members out by their instance ids, as an operator would.
func (r *run) removeStatic(group string, ids ...string) {
	admin := r.admin()
	left := must(admin.LeaveGroup(r.ctx, kadm.LeaveGroup(group).InstanceIDs(ids...)))
	check(left.Error())
	equal("state", must(admin.DescribeGroups(r.ctx, group))[group].State, "Empty")
	unknown := must(admin.LeaveGroup(r.ctx, kadm.LeaveGroup(group).InstanceIDs("nobody")))["nobody"].Err
	isTrue(fmt.Sprintf("UNKNOWN_MEMBER_ID, not %v", unknown), errors.Is(unknown, kerr.UnknownMemberID))
}

// staticMemberFenced: a second client with the same instance id takes the place of the first.
func staticMemberFenced(r *run) {
	topic, group := r.topic(2), r.unique("group")
	first := r.join(group, topic, kgo.InstanceID("same"))
	r.awaitShares([]*member{first}, 2)
	second := r.join(group, topic, kgo.InstanceID("same"))
	r.awaitShares([]*member{second}, 2)
	r.eventually(groupWait, func() string {
		_, errs, _ := first.seen()
		for _, err := range errs {
			if errors.Is(err, kerr.FencedInstanceID) {
				return ""
			}
		}
		return fmt.Sprintf("the first member was not fenced, it saw %v", errs)
	})
	_, errs, _ := second.seen()
	equal("errors of the second", errs, []error(nil))
	described := must(r.admin().DescribeGroups(r.ctx, group))[group]
	equal("members", len(described.Members), 1)
	equal("instance id", *described.Members[0].InstanceID, "same")
}

func listDescribeDeleteGroup(r *run) {
	topic, group := r.topic(2), r.unique("group")
	admin := r.admin()
	absent := must(admin.DescribeGroups(r.ctx, group))[group]
	isTrue(fmt.Sprintf("an unknown group is Dead or not found, not %q %v", absent.State, absent.Err),
		absent.State == "Dead" || errors.Is(absent.Err, kerr.GroupIDNotFound))
	err := deleteGroup(r, admin, group)
	isTrue(fmt.Sprintf("deleting it: GROUP_ID_NOT_FOUND, not %v", err), errors.Is(err, kerr.GroupIDNotFound))
	m := r.join(group, topic)
	r.awaitStable(group, "cooperative-sticky", []*member{m}, 2)
	listed, found := must(admin.ListGroups(r.ctx))[group]
	isTrue("the group is listed", found)
	equal("protocol type", listed.ProtocolType, "consumer")
	equal("state", listed.State, "Stable")
	_, found = must(admin.ListGroups(r.ctx, "Empty"))[group]
	isTrue("not listed among the empty ones", !found)
	err = deleteGroup(r, admin, group)
	isTrue(fmt.Sprintf("NON_EMPTY_GROUP, not %v", err), errors.Is(err, kerr.NonEmptyGroup))
	r.produceAll(r.client(), keyed(topic, 10, 10))
	r.eventually(consumeTimeout, func() string {
		if n := len(countByPlace([]*member{m})); n < 10 {
			return fmt.Sprintf("%d of 10 records", n)
		}
		return ""
	})
	m.leave()
	_, found = must(admin.ListGroups(r.ctx, "Empty"))[group]
	isTrue("now listed among the empty ones", found)
	check(deleteGroup(r, admin, group))
	_, found = must(admin.ListGroups(r.ctx))[group]
	isTrue("a deleted group is not listed", !found)
	equal("offsets of a deleted group", len(must(admin.FetchOffsets(r.ctx, group))), 0)
}

func deleteGroup(r *run, admin *kadm.Client, group string) error {
	return must(admin.DeleteGroups(r.ctx, group))[group].Err
}
