package main

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func init() {
	scenarios["commit_with_metadata"] = commitWithMetadata
	scenarios["missing_commits"] = missingCommits
	scenarios["commit_errors"] = commitErrors
	scenarios["delete_offsets"] = deleteOffsets
	scenarios["reset_without_membership"] = resetWithoutMembership
	scenarios["commit_in_active_group"] = commitInActiveGroup
	scenarios["many_groups_in_one_fetch"] = manyGroupsInOneFetch
}

func offsetsOf(topic string, at map[int32]int64, metadata string) kadm.Offsets {
	var offsets kadm.Offsets
	for partition, offset := range at {
		offsets.Add(kadm.Offset{Topic: topic, Partition: partition, At: offset, LeaderEpoch: -1, Metadata: metadata})
	}
	return offsets
}

func commitWithMetadata(r *run) {
	topic, group, admin := r.topic(3), r.unique("group"), r.admin()
	check(admin.CommitAllOffsets(r.ctx, group, offsetsOf(topic, map[int32]int64{0: 5, 1: 0}, "node-7 \u20ac {\"a\":1}")))
	check(admin.CommitAllOffsets(r.ctx, group, offsetsOf(topic, map[int32]int64{2: 77}, "")))
	fetched := must(admin.FetchOffsets(r.ctx, group))
	check(fetched.Error())
	equal("partitions", len(fetched[topic]), 3)
	for partition, want := range map[int32]int64{0: 5, 1: 0, 2: 77} {
		equal(fmt.Sprintf("offset in %d", partition), fetched[topic][partition].At, want)
	}
	equal("metadata", fetched[topic][0].Metadata, "node-7 \u20ac {\"a\":1}")
	equal("metadata", fetched[topic][1].Metadata, "node-7 \u20ac {\"a\":1}")
	equal("no metadata", fetched[topic][2].Metadata, "")
	check(admin.CommitAllOffsets(r.ctx, group, offsetsOf(topic, map[int32]int64{0: 3}, "later")))
	fetched = must(admin.FetchOffsets(r.ctx, group))
	equal("offset overwritten", fetched[topic][0].At, int64(3))
	equal("metadata overwritten", fetched[topic][0].Metadata, "later")
	equal("others kept", fetched[topic][2].At, int64(77))
}

// fetchRaw asks for named partitions, which is the only way to see how a missing commit is answered.
func fetchRaw(r *run, cl *kgo.Client, group, topic string, partitions ...int32) []kmsg.OffsetFetchResponseGroupTopicPartition {
	req := kmsg.NewPtrOffsetFetchRequest()
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = group
	t := kmsg.NewOffsetFetchRequestGroupTopic()
	t.Topic, t.Partitions = topic, partitions
	g.Topics = append(g.Topics, t)
	req.Groups = append(req.Groups, g)
	resp := must(req.RequestWith(r.ctx, cl))
	equal("groups", len(resp.Groups), 1)
	check(kerr.ErrorForCode(resp.Groups[0].ErrorCode))
	equal("topics", len(resp.Groups[0].Topics), 1)
	return resp.Groups[0].Topics[0].Partitions
}

func missingCommits(r *run) {
	topic, group, cl := r.topic(3), r.unique("group"), r.client()
	admin := kadm.NewClient(cl)
	equal("topics of a group nobody has seen", len(must(admin.FetchOffsets(r.ctx, group))), 0)
	for _, answer := range fetchRaw(r, cl, group, topic, 0, 1, 2) {
		check(kerr.ErrorForCode(answer.ErrorCode))
		equal("offset", answer.Offset, int64(-1))
		equal("leader epoch", answer.LeaderEpoch, int32(-1))
	}
	check(admin.CommitAllOffsets(r.ctx, group, offsetsOf(topic, map[int32]int64{1: 12}, "m")))
	equal("only what was committed", len(must(admin.FetchOffsets(r.ctx, group))[topic]), 1)
	for _, answer := range fetchRaw(r, cl, group, topic, 0, 1, 2) {
		check(kerr.ErrorForCode(answer.ErrorCode))
		want := map[bool]int64{true: 12, false: -1}[answer.Partition == 1]
		equal(fmt.Sprintf("offset in %d", answer.Partition), answer.Offset, want)
	}
}

func commitErrors(r *run) {
	topic, group, cl := r.topic(1), r.unique("group"), r.client()
	commit := func(topic string, partition int32, generation int32, memberID, metadata string) error {
		req := kmsg.NewPtrOffsetCommitRequest()
		req.Group, req.Generation, req.MemberID = group, generation, memberID
		t := kmsg.NewOffsetCommitRequestTopic()
		t.Topic = topic
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset, p.Metadata = partition, 1, &metadata
		t.Partitions = append(t.Partitions, p)
		req.Topics = append(req.Topics, t)
		resp := must(req.RequestWith(r.ctx, cl))
		return kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
	}
	expect := func(what string, got, want error) {
		isTrue(fmt.Sprintf("%s: %v, not %v", what, want, got), errors.Is(got, want))
	}
	check(commit(topic, 0, -1, "", ""))
	expect("unknown topic", commit(r.unique("missing"), 0, -1, "", ""), kerr.UnknownTopicOrPartition)
	expect("unknown partition", commit(topic, 9, -1, "", ""), kerr.UnknownTopicOrPartition)
	expect("4097 bytes of metadata", commit(topic, 0, -1, "", string(make([]byte, 4097))), kerr.OffsetMetadataTooLarge)
	check(commit(topic, 0, -1, "", string(make([]byte, 4096))))
	expect("unknown member", commit(topic, 0, 1, "nobody", ""), kerr.UnknownMemberID)
}

func deleteOffsets(r *run) {
	topic, group, admin := r.topic(2), r.unique("group"), r.admin()
	check(admin.CommitAllOffsets(r.ctx, group, offsetsOf(topic, map[int32]int64{0: 5, 1: 6}, "")))
	var gone kadm.TopicsSet
	gone.Add(topic, 0)
	check(must(admin.DeleteOffsets(r.ctx, group, gone)).Error())
	fetched := must(admin.FetchOffsets(r.ctx, group))
	equal("partitions left", len(fetched[topic]), 1)
	equal("offset of the other", fetched[topic][1].At, int64(6))
	_, err := admin.DeleteOffsets(r.ctx, r.unique("missing"), gone)
	isTrue(fmt.Sprintf("GROUP_ID_NOT_FOUND, not %v", err), errors.Is(err, kerr.GroupIDNotFound))
}

// resetWithoutMembership rewinds an empty group; its next member starts where it was told.
func resetWithoutMembership(r *run) {
	topic, group, admin := r.topic(1), r.unique("group"), r.admin()
	records := keyed(topic, 50, 5)
	r.produceAll(r.client(), records)
	r.readAndCommit(group, topic, records, 0)
	check(admin.CommitAllOffsets(r.ctx, group, offsetsOf(topic, map[int32]int64{0: 20}, "rewound")))
	r.readAndCommit(group, topic, records, 20)
	check(admin.CommitAllOffsets(r.ctx, group, offsetsOf(topic, map[int32]int64{0: 49}, "")))
	r.readAndCommit(group, topic, records, 49)
}

// readAndCommit joins, expects the records from the first one on, commits and leaves.
func (r *run) readAndCommit(group, topic string, records []*kgo.Record, first int) {
	cl := r.client(kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit())
	defer cl.Close()
	for i, got := range r.poll(cl, len(records)-first) {
		equal("offset", got.Offset, int64(first+i))
		sameRecord(got, records[first+i])
	}
	check(cl.CommitUncommittedOffsets(r.ctx))
	committed := must(r.admin().FetchOffsets(r.ctx, group))[topic][0]
	equal("committed", committed.At, int64(len(records)))
	equal("committed leader epoch", committed.LeaderEpoch, int32(0))
}

// commitInActiveGroup: who is not a member may not commit while the group has members.
func commitInActiveGroup(r *run) {
	topic, group, admin := r.topic(2), r.unique("group"), r.admin()
	m := r.join(group, topic)
	r.awaitShares([]*member{m}, 2)
	responses := must(admin.CommitOffsets(r.ctx, group, offsetsOf(topic, map[int32]int64{0: 1}, "")))
	err := responses[topic][0].Err
	isTrue(fmt.Sprintf("UNKNOWN_MEMBER_ID, not %v", err), errors.Is(err, kerr.UnknownMemberID))
	var subscribed kadm.TopicsSet
	subscribed.Add(topic, 0)
	deleted := must(admin.DeleteOffsets(r.ctx, group, subscribed))
	isTrue(fmt.Sprintf("GROUP_SUBSCRIBED_TO_TOPIC, not %v", deleted.Error()),
		errors.Is(deleted.Error(), kerr.GroupSubscribedToTopic))
	m.leave()
	check(admin.CommitAllOffsets(r.ctx, group, offsetsOf(topic, map[int32]int64{0: 1}, "")))
	equal("committed", must(admin.FetchOffsets(r.ctx, group))[topic][0].At, int64(1))
}

func manyGroupsInOneFetch(r *run) {
	topic, admin := r.topic(2), r.admin()
	groups := []string{r.unique("group"), r.unique("group"), r.unique("group")}
	for i, group := range groups[:2] {
		check(admin.CommitAllOffsets(r.ctx, group, offsetsOf(topic, map[int32]int64{int32(i): int64(i + 10)}, group)))
	}
	fetched := admin.FetchManyOffsets(r.ctx, groups...)
	check(fetched.Error())
	equal("groups", len(fetched), 3)
	equal("first", fetched[groups[0]].Fetched[topic][0].At, int64(10))
	equal("second", fetched[groups[1]].Fetched[topic][1].At, int64(11))
	equal("metadata", fetched[groups[1]].Fetched[topic][1].Metadata, groups[1])
	equal("third", len(fetched[groups[2]].Fetched), 0)
}
