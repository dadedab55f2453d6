'use strict'

const assert = require('node:assert/strict')
const { collect, keyed, sameRecord, CONSUME_TIMEOUT_MS } = require('../harness')

/** Committed offsets of one topic by partition. */
async function committed(admin, groupId, topic) {
  const answers = await admin.fetchOffsets({ groupId, topics: [topic] })
  assert.deepEqual(answers.map(answer => answer.topic), [topic])
  return new Map(answers[0].partitions.map(({ partition, offset, metadata }) => [partition, { offset, metadata }]))
}

async function filled(run, partitions, count) {
  const topic = await run.topic(partitions)
  const messages = keyed(count, partitions).map((message, i) => ({ ...message, partition: i % partitions }))
  await (await run.producer()).send({ topic, messages })
  return { topic, messages }
}

async function missing_commits(run) {
  const topic = await run.topic(3)
  const admin = await run.admin()
  const offsets = await committed(admin, run.unique('group'), topic)
  assert.deepEqual([...offsets.keys()].sort(), [0, 1, 2])
  for (const { offset } of offsets.values()) assert.equal(offset, '-1')
  assert.deepEqual(await admin.fetchOffsets({ groupId: run.unique('group') }), [], 'all topics of an unknown group')
}

async function commit_with_metadata(run) {
  const { topic } = await filled(run, 2, 100)
  const groupId = run.unique('group')
  const consumer = await run.consumer({ groupId })
  await consumer.subscribe({ topic, fromBeginning: true })
  const records = collect(consumer, { autoCommit: false })
  await records.atLeast(100)
  await consumer.commitOffsets([
    { topic, partition: 0, offset: '20', metadata: 'node-7 \u20ac {"a":1}' },
    { topic, partition: 1, offset: '30' },
  ])
  const admin = await run.admin()
  const offsets = await committed(admin, groupId, topic)
  assert.deepEqual(offsets.get(0), { offset: '20', metadata: 'node-7 \u20ac {"a":1}' })
  assert.equal(offsets.get(1).offset, '30')
  assert.ok(!offsets.get(1).metadata, 'no metadata')
  await consumer.disconnect()
  await resumesAt(run, groupId, topic, { 0: 20, 1: 30 })
}

/** A new member of the group reads exactly from the given offsets on; each partition ends at 50. */
async function resumesAt(run, groupId, topic, starts) {
  const consumer = await run.consumer({ groupId })
  await consumer.subscribe({ topic, fromBeginning: true })
  const records = collect(consumer)
  const total = Object.values(starts).reduce((sum, start) => sum + 50 - start, 0)
  await records.atLeast(total)
  await consumer.disconnect()
  assert.equal(records.all.length, total)
  for (const [partition, start] of Object.entries(starts)) {
    const offsets = records.all.filter(record => record.partition === Number(partition)).map(record => record.offset)
    assert.deepEqual(offsets, Array.from({ length: 50 - start }, (_, i) => start + i), `partition ${partition}`)
  }
}

async function set_offsets(run) {
  const { topic } = await filled(run, 2, 100)
  const groupId = run.unique('group')
  const admin = await run.admin()
  const partitions = [{ partition: 0, offset: '45' }, { partition: 1, offset: '3' }]
  await admin.setOffsets({ groupId, topic, partitions })
  const offsets = await committed(admin, groupId, topic)
  assert.equal(offsets.get(0).offset, '45')
  assert.equal(offsets.get(1).offset, '3')
  await resumesAt(run, groupId, topic, { 0: 45, 1: 3 })
}

/** Slow: kafkajs resets by joining the group, with its defaults of 5 s of fetch wait and 3 s between heartbeats. */
async function reset_offsets(run) {
  const { topic } = await filled(run, 2, 100)
  const groupId = run.unique('group')
  const admin = await run.admin()
  await resumesAt(run, groupId, topic, { 0: 0, 1: 0 })
  await admin.resetOffsets({ groupId, topic, earliest: true })
  const earliest = await committed(admin, groupId, topic)
  // kafkajs commits its symbols for the ends of a log, and the broker keeps what it is given.
  assert.deepEqual([earliest.get(0).offset, earliest.get(1).offset], ['-2', '-2'])
  await resumesAt(run, groupId, topic, { 0: 0, 1: 0 })
  await admin.resetOffsets({ groupId, topic, earliest: false })
  const latest = await committed(admin, groupId, topic)
  assert.deepEqual([latest.get(0).offset, latest.get(1).offset], ['-1', '-1'])
}

/** Automatic commits by count while reading. */
async function auto_commit_threshold(run) {
  const { topic, messages } = await filled(run, 1, 50)
  const groupId = run.unique('group')
  const admin = await run.admin()
  const consumer = await run.consumer({ groupId })
  await consumer.subscribe({ topic, fromBeginning: true })
  const records = collect(consumer, { autoCommitThreshold: 10, autoCommitInterval: null })
  await records.atLeast(50)
  await run.eventually(CONSUME_TIMEOUT_MS, async () => {
    const offset = (await committed(admin, groupId, topic)).get(0).offset
    return offset === '50' ? '' : `committed ${offset}`
  })
  records.all.forEach((record, i) => sameRecord(record, messages[i]))
}

module.exports = {
  missing_commits,
  commit_with_metadata,
  set_offsets,
  reset_offsets,
  auto_commit_threshold,
}
