'use strict'

const assert = require('node:assert/strict')
const { ConfigResourceTypes } = require('kafkajs')
const { keyed, rejects, sameRecord, verifyLog } = require('../harness')

const DYNAMIC_TOPIC_CONFIG = 1
const DEFAULT_CONFIG = 5

async function configs(admin, topic) {
  const resources = [{ type: ConfigResourceTypes.TOPIC, name: topic }]
  const { resources: answers } = await admin.describeConfigs({ includeSynonyms: false, resources })
  assert.equal(answers.length, 1)
  assert.deepEqual([answers[0].errorCode, answers[0].resourceName], [0, topic])
  return new Map(answers[0].configEntries.map(entry => [entry.configName, entry]))
}

async function auto_create_topic(run) {
  const topic = run.unique('auto')
  const messages = keyed(100, 10)
  await (await run.producer()).send({ topic, messages })
  verifyLog(messages, await run.consume(topic, messages.length))
}

async function unknown_topic(run) {
  const topic = run.unique('unknown')
  const producer = await run.producer({ allowAutoTopicCreation: false, retry: { retries: 1 } })
  await rejects(producer.send({ topic, messages: [{ value: 'x' }] }), 'UNKNOWN_TOPIC_OR_PARTITION')
  assert.ok(!(await (await run.admin()).listTopics()).includes(topic), 'nothing was created')
}

async function create_topic_configs(run) {
  const wanted = { 'retention.ms': '7200000', 'cleanup.policy': 'compact', 'max.message.bytes': '2000000' }
  const topic = await run.topic(3, Object.entries(wanted).map(([name, value]) => ({ name, value })))
  const admin = await run.admin()
  assert.ok((await admin.listTopics()).includes(topic))
  const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
  assert.deepEqual(topics[0].partitions.map(p => p.partitionId).sort(), [0, 1, 2])
  const described = await configs(admin, topic)
  for (const [name, value] of Object.entries(wanted)) {
    assert.equal(described.get(name).configValue, value, name)
    assert.equal(described.get(name).configSource, DYNAMIC_TOPIC_CONFIG, `source of ${name}`)
  }
  assert.equal(described.get('compression.type').configValue, 'producer')
  assert.equal(described.get('compression.type').configSource, DEFAULT_CONFIG)
}

async function create_topic_errors(run) {
  const admin = await run.admin()
  const topic = await run.topic(2)
  const create = options => admin.createTopics({ topics: [{ topic: run.unique('topic'), ...options }] })
  assert.equal(await create({ topic, numPartitions: 2 }), false, 'kafkajs says false for a topic that exists')
  await rejects(create({ topic: 'not a name' }), 'INVALID_TOPIC_EXCEPTION')
  await rejects(create({ numPartitions: 0 }), 'INVALID_PARTITIONS')
  await rejects(create({ configEntries: [{ name: 'retention.ms', value: 'soon' }] }), 'INVALID_CONFIG')
  const dry = run.unique('topic')
  assert.equal(await admin.createTopics({ validateOnly: true, waitForLeaders: false, topics: [{ topic: dry }] }), true)
  assert.ok(!(await admin.listTopics()).includes(dry), 'validation creates nothing')
}

async function alter_configs(run) {
  const admin = await run.admin()
  const topic = await run.topic(1, [{ name: 'max.message.bytes', value: '2000000' }])
  const alter = (name, value) => {
    const resource = { type: ConfigResourceTypes.TOPIC, name: topic, configEntries: [{ name, value }] }
    return admin.alterConfigs({ validateOnly: false, resources: [resource] })
  }
  await alter('retention.ms', '3600000')
  await run.eventually(10_000, async () => {
    const now = await configs(admin, topic)
    return now.get('retention.ms').configValue === '3600000' ? '' : 'retention.ms is not changed'
  })
  // The older AlterConfigs replaces all: what it does not name goes back to the default.
  assert.equal((await configs(admin, topic)).get('max.message.bytes').configValue, '1048588')
  await rejects(alter('retention.ms', 'often'), 'INVALID_CONFIG')
}

async function delete_and_recreate(run) {
  const admin = await run.admin()
  const topic = await run.topic(2)
  await (await run.producer()).send({ topic, messages: keyed(50, 10) })
  await admin.deleteTopics({ topics: [topic] })
  await run.eventually(15_000, async () => ((await admin.listTopics()).includes(topic) ? 'the topic is listed' : ''))
  const impatient = await run.admin({ retry: { retries: 0 } })
  await rejects(impatient.deleteTopics({ topics: [topic] }), 'UNKNOWN_TOPIC_OR_PARTITION')
  await run.create(admin, { topic, numPartitions: 2 })
  const messages = keyed(40, 8)
  const answers = await (await run.producer()).send({ topic, messages })
  for (const { baseOffset } of answers) assert.equal(baseOffset, '0')
  verifyLog(messages, await run.consume(topic, messages.length))
}

async function create_partitions(run) {
  const admin = await run.admin()
  const topic = await run.topic(2)
  const first = keyed(20, 2)
  first.forEach((message, i) => Object.assign(message, { partition: i % 2 }))
  await (await run.producer()).send({ topic, messages: first })
  await admin.createPartitions({ topicPartitions: [{ topic, count: 5 }] })
  await run.ready(admin, { topic, numPartitions: 5 })
  await rejects(admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] }), 'INVALID_PARTITIONS')
  const added = keyed(10, 5, 20).map((message, i) => ({ ...message, key: `added-${i % 5}`, partition: i % 5 }))
  await (await run.producer()).send({ topic, messages: added })
  const ends = verifyLog([...first, ...added], await run.consume(topic, 30))
  assert.deepEqual([0, 1, 2, 3, 4].map(partition => ends.get(partition)), [12, 12, 2, 2, 2])
}

async function describe_cluster(run) {
  const admin = await run.admin()
  const { brokers, controller, clusterId } = await admin.describeCluster()
  assert.ok(brokers.length > 0)
  assert.ok(clusterId.length > 0)
  assert.ok(brokers.map(broker => broker.nodeId).includes(controller), 'the controller is one of the brokers')
  for (const { host, port } of brokers) assert.ok(host.length > 0 && port > 0)
}

async function delete_records(run) {
  const admin = await run.admin()
  const topic = await run.topic(1)
  const messages = keyed(100, 10)
  await (await run.producer()).send({ topic, messages })
  await admin.fetchTopicOffsets(topic) // kafkajs deletes records only of a topic whose metadata it has loaded
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '60' }] })
  const [offsets] = await admin.fetchTopicOffsets(topic)
  assert.deepEqual({ ...offsets }, { partition: 0, offset: '100', high: '100', low: '60' })
  const consumed = await run.consume(topic, 40)
  consumed.forEach((record, i) => {
    assert.equal(record.offset, 60 + i)
    sameRecord(record, messages[60 + i])
  })
}

module.exports = {
  auto_create_topic,
  unknown_topic,
  create_topic_configs,
  create_topic_errors,
  alter_configs,
  delete_and_recreate,
  create_partitions,
  describe_cluster,
  delete_records,
}
