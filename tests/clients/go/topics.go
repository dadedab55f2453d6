package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func init() {
	scenarios["auto_create_topic"] = autoCreateTopic
	scenarios["unknown_topic"] = unknownTopic
	scenarios["create_topic_configs"] = createTopicConfigs
	scenarios["create_topic_errors"] = createTopicErrors
	scenarios["alter_configs"] = alterConfigs
	scenarios["delete_and_recreate"] = deleteAndRecreate
	scenarios["create_partitions"] = createPartitions
	scenarios["delete_records"] = deleteRecords
	scenarios["describe_cluster"] = describeCluster
}

func autoCreateTopic(r *run) {
	topic := r.unique("auto")
	records := keyed(topic, 100, 10)
	r.produceAll(r.client(kgo.AllowAutoTopicCreation()), records)
	r.verifyLog(records, r.consume(topic, len(records)))
	detail := must(r.admin().ListTopics(r.ctx, topic))[topic]
	check(detail.Err)
	isTrue("the new topic has an id", detail.ID != kadm.TopicID{})
}

// unknownTopic: without permission to create it, producing and describing fail and nothing is created.
func unknownTopic(r *run) {
	topic := r.unique("unknown")
	err := r.client().ProduceSync(r.ctx, &kgo.Record{Topic: topic, Value: []byte("x")}).FirstErr()
	isTrue(fmt.Sprintf("UNKNOWN_TOPIC_OR_PARTITION, not %v", err), errors.Is(err, kerr.UnknownTopicOrPartition))
	admin := r.admin()
	err = must(admin.ListTopics(r.ctx, topic))[topic].Err
	isTrue(fmt.Sprintf("metadata: unknown, not %v", err), errors.Is(err, kerr.UnknownTopicOrPartition))
	offsets := must(admin.ListEndOffsets(r.ctx, topic))
	isTrue("offsets: an error", offsets.Error() != nil)
	_, listed := must(r.admin().ListTopics(r.ctx))[topic] // a new client: this one remembers the name
	isTrue("the topic was not created", !listed)
}

func createTopicConfigs(r *run) {
	admin, topic := r.admin(), r.unique("topic")
	wanted := map[string]*string{
		"retention.ms":      kadm.StringPtr("7200000"),
		"cleanup.policy":    kadm.StringPtr("compact"),
		"max.message.bytes": kadm.StringPtr("2000000"),
	}
	created := must(admin.CreateTopic(r.ctx, 3, 1, wanted, topic))
	equal("partitions", created.NumPartitions, int32(3))
	equal("replication factor", created.ReplicationFactor, int16(1))
	isTrue("the answer names the topic id", created.ID != kadm.TopicID{})
	r.awaitTopic(admin, topic, 3)
	equal("topic id", must(admin.ListTopics(r.ctx, topic))[topic].ID, created.ID)
	configs := r.configs(admin, topic)
	for name, value := range wanted {
		equal(name, configs[name].MaybeValue(), *value)
		equal("source of "+name, configs[name].Source, kmsg.ConfigSourceDynamicTopicConfig)
	}
	equal("compression.type", configs["compression.type"].MaybeValue(), "producer")
	equal("source of compression.type", configs["compression.type"].Source, kmsg.ConfigSourceDefaultConfig)
}

func (r *run) configs(admin *kadm.Client, topic string) map[string]*kadm.Config {
	described := must(must(admin.DescribeTopicConfigs(r.ctx, topic)).On(topic, nil))
	check(described.Err)
	byName := map[string]*kadm.Config{}
	for _, config := range described.Configs {
		byName[config.Key] = &config
	}
	return byName
}

func createTopicErrors(r *run) {
	admin, topic := r.admin(), r.topic(2)
	expect := func(want error, partitions int32, factor int16, configs map[string]*string, name string) {
		_, err := admin.CreateTopic(r.ctx, partitions, factor, configs, name)
		isTrue(fmt.Sprintf("creating %q fails with %v, not %v", name, want, err), errors.Is(err, want))
	}
	expect(kerr.TopicAlreadyExists, 2, 1, nil, topic)
	expect(kerr.TopicAlreadyExists, 5, -1, nil, topic)
	expect(kerr.InvalidTopicException, 1, 1, nil, "not a name")
	expect(kerr.InvalidTopicException, 1, 1, nil, "..")
	expect(kerr.InvalidPartitions, 0, 1, nil, r.unique("topic"))
	bad := map[string]*string{"retention.ms": kadm.StringPtr("soon")}
	expect(kerr.InvalidConfig, 1, 1, bad, r.unique("topic"))
	expect(kerr.InvalidConfig, 1, 1, map[string]*string{"no.such.config": kadm.StringPtr("1")}, r.unique("topic"))
	dry := r.unique("topic")
	check(must(admin.ValidateCreateTopics(r.ctx, 1, 1, nil, dry))[dry].Err)
	_, listed := must(admin.ListTopics(r.ctx))[dry]
	isTrue("validation creates nothing", !listed)
	equal("partitions of the first", len(must(admin.ListTopics(r.ctx, topic))[topic].Partitions), 2)
}

func alterConfigs(r *run) {
	admin, topic := r.admin(), r.topic(1)
	alter := func(op kadm.IncrementalOp, name, value string) error {
		config := []kadm.AlterConfig{{Op: op, Name: name, Value: kadm.StringPtr(value)}}
		return must(must(admin.AlterTopicConfigs(r.ctx, config, topic)).On(topic, nil)).Err
	}
	seen := func(name, value string, source kmsg.ConfigSource) {
		r.eventually(10*time.Second, func() string {
			config := r.configs(admin, topic)[name]
			if config.MaybeValue() == value && config.Source == source {
				return ""
			}
			return fmt.Sprintf("%s is %s (%v)", name, config.MaybeValue(), config.Source)
		})
	}
	check(alter(kadm.SetConfig, "retention.ms", "3600000"))
	check(alter(kadm.AppendConfig, "cleanup.policy", "compact"))
	seen("retention.ms", "3600000", kmsg.ConfigSourceDynamicTopicConfig)
	seen("cleanup.policy", "delete,compact", kmsg.ConfigSourceDynamicTopicConfig)
	check(alter(kadm.DeleteConfig, "retention.ms", ""))
	check(alter(kadm.SubtractConfig, "cleanup.policy", "delete"))
	seen("retention.ms", "604800000", kmsg.ConfigSourceDefaultConfig)
	seen("cleanup.policy", "compact", kmsg.ConfigSourceDynamicTopicConfig)
	err := alter(kadm.SetConfig, "retention.ms", "often")
	isTrue(fmt.Sprintf("a bad value fails with INVALID_CONFIG, not %v", err), errors.Is(err, kerr.InvalidConfig))
	seen("retention.ms", "604800000", kmsg.ConfigSourceDefaultConfig)
}

// deleteAndRecreate: the new topic of the same name is another topic, empty, counting from 0.
func deleteAndRecreate(r *run) {
	admin, topic := r.admin(), r.topic(2)
	r.produceAll(r.client(), keyed(topic, 50, 10))
	first := must(admin.ListTopics(r.ctx, topic))[topic].ID
	must(admin.DeleteTopic(r.ctx, topic))
	r.eventually(15*time.Second, func() string {
		if err := must(admin.ListTopics(r.ctx, topic))[topic].Err; !errors.Is(err, kerr.UnknownTopicOrPartition) {
			return fmt.Sprintf("the deleted topic answers %v", err)
		}
		return ""
	})
	_, err := admin.DeleteTopic(r.ctx, topic)
	isTrue(fmt.Sprintf("deleting again: unknown, not %v", err), errors.Is(err, kerr.UnknownTopicOrPartition))
	second := must(admin.CreateTopic(r.ctx, 2, -1, nil, topic)).ID
	isTrue("the topic id changed", second != first && second != kadm.TopicID{})
	r.awaitTopic(admin, topic, 2)
	equal("id in metadata", must(admin.ListTopics(r.ctx, topic))[topic].ID, second)
	records := keyed(topic, 40, 8)
	r.produceAll(r.client(), records)
	r.verifyLog(records, r.consume(topic, len(records)))
}

func createPartitions(r *run) {
	admin, topic := r.admin(), r.topic(2)
	cl := r.client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	records := inEachPartition(topic, 2, 10)
	r.produceAll(cl, records)
	check(must(admin.UpdatePartitions(r.ctx, 5, topic))[topic].Err)
	r.awaitTopic(admin, topic, 5)
	for _, count := range []int{5, 3} {
		err := must(admin.UpdatePartitions(r.ctx, count, topic))[topic].Err
		isTrue(fmt.Sprintf("%d partitions: INVALID_PARTITIONS, not %v", count, err), errors.Is(err, kerr.InvalidPartitions))
	}
	missing := r.unique("missing")
	err := must(admin.UpdatePartitions(r.ctx, 5, missing))[missing].Err
	isTrue(fmt.Sprintf("unknown topic, not %v", err), errors.Is(err, kerr.UnknownTopicOrPartition))
	added := inEachPartition(topic, 5, 10)
	r.produceAll(r.client(kgo.RecordPartitioner(kgo.ManualPartitioner())), added)
	r.verifyLog(append(records, added...), r.consume(topic, len(records)+len(added)))
}

func inEachPartition(topic string, partitions, each int) []*kgo.Record {
	records := keyed(topic, partitions*each, partitions)
	for i, record := range records {
		record.Partition = int32(i % partitions)
	}
	return records
}

// deleteRecords moves the log start; what lies above keeps its offsets.
func deleteRecords(r *run) {
	admin, topic := r.admin(), r.topic(1)
	records := keyed(topic, 100, 10)
	r.produceAll(r.client(), records)
	var upTo kadm.Offsets
	upTo.Add(kadm.Offset{Topic: topic, Partition: 0, At: 60})
	deleted := must(admin.DeleteRecords(r.ctx, upTo))[topic][0]
	check(deleted.Err)
	equal("low watermark", deleted.LowWatermark, int64(60))
	equal("start", must(admin.ListStartOffsets(r.ctx, topic))[topic][0].Offset, int64(60))
	equal("end", must(admin.ListEndOffsets(r.ctx, topic))[topic][0].Offset, int64(100))
	for i, got := range r.consume(topic, 40) {
		equal("offset", got.Offset, int64(60+i))
		sameRecord(got, records[60+i])
	}
	var beyond kadm.Offsets
	beyond.Add(kadm.Offset{Topic: topic, Partition: 0, At: 101})
	err := must(admin.DeleteRecords(r.ctx, beyond))[topic][0].Err
	isTrue(fmt.Sprintf("beyond the end: OFFSET_OUT_OF_RANGE, not %v", err), errors.Is(err, kerr.OffsetOutOfRange))
}

func describeCluster(r *run) {
	cl := r.client()
	metadata := must(kadm.NewClient(cl).BrokerMetadata(r.ctx))
	isTrue("at least one broker", len(metadata.Brokers) > 0)
	isTrue("metadata names the cluster", metadata.Cluster != "")
	described := must(kmsg.NewPtrDescribeClusterRequest().RequestWith(r.ctx, cl))
	check(kerr.ErrorForCode(described.ErrorCode))
	equal("cluster id", described.ClusterID, metadata.Cluster)
	equal("brokers", len(described.Brokers), len(metadata.Brokers))
	nodes := map[int32]string{}
	for _, broker := range described.Brokers {
		nodes[broker.NodeID] = fmt.Sprintf("%s:%d", broker.Host, broker.Port)
	}
	for _, broker := range metadata.Brokers {
		equal("address", nodes[broker.NodeID], fmt.Sprintf("%s:%d", broker.Host, broker.Port))
	}
	isTrue("the controller is one of the brokers", nodes[metadata.Controller] != "" && nodes[described.ControllerID] != "")
}
