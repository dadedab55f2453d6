'use strict'

const assert = require('node:assert/strict')
const { collect, keyed, plain, sameRecord, sleep, verifyLog, CONSUME_TIMEOUT_MS } = require('../harness')

/** A topic of one partition with 100 records in batches of ten. */
async function filled(run, messages = keyed(100, 10)) {
  const topic = await run.topic(1)
  const producer = await run.producer()
  for (let i = 0; i < messages.length; i += 10) await producer.send({ topic, messages: messages.slice(i, i + 10) })
  return { topic, messages, producer }
}

function expectFrom(consumed, messages, first) {
  consumed.forEach((record, i) => {
    assert.equal(record.offset, first + i)
    sameRecord(record, messages[first + i])
  })
}

async function consume_from_start(run) {
  const { topic, messages } = await filled(run)
  verifyLog(messages, await run.consume(topic, messages.length))
}

/** Resolves when the consumer has its partitions: what is produced after that is for it. */
const joined = consumer => new Promise(resolve => consumer.on(consumer.events.GROUP_JOIN, resolve))

async function consume_from_end(run) {
  const { topic, producer } = await filled(run)
  const consumer = await run.consumer()
  await consumer.subscribe({ topic, fromBeginning: false })
  const ready = new Promise(resolve => consumer.on(consumer.events.FETCH, resolve))
  const records = collect(consumer)
  await ready
  const later = keyed(20, 5, 100)
  await producer.send({ topic, messages: later })
  await records.atLeast(20)
  assert.equal(records.all.length, 20)
  records.all.forEach((record, i) => {
    assert.equal(record.offset, 100 + i)
    sameRecord(record, later[i])
  })
}

async function seek(run) {
  const { topic, messages } = await filled(run)
  const consumer = await run.consumer()
  await consumer.subscribe({ topic, fromBeginning: true })
  const records = collect(consumer)
  for (const offset of [37, 90, 0]) {
    const before = records.all.length
    consumer.seek({ topic, partition: 0, offset: String(offset) })
    await run.eventually(CONSUME_TIMEOUT_MS, () => {
      const since = records.all.slice(before)
      const at = since.findLastIndex(record => record.offset === offset)
      return at >= 0 && since.length - at === 100 - offset ? '' : `${since.length} records after seeking ${offset}`
    })
    expectFrom(records.all.slice(-(100 - offset)), messages, offset)
  }
}

/** The times lie one second apart, and batch borders are at every tenth record. */
async function seek_by_timestamp(run) {
  const base = Date.now() - 3_600_000
  const timed = keyed(40, 4).map((message, i) => ({ ...message, timestamp: String(base + i * 1000) }))
  const { topic, messages } = await filled(run, timed)
  const admin = await run.admin()
  for (const [after, offset] of [[-5000, '0'], [0, '0'], [13_000, '13'], [13_001, '14'], [39_000, '39'], [39_001, '40']]) {
    const found = await admin.fetchTopicOffsetsByTimestamp(topic, base + after)
    assert.deepEqual(found.map(entry => ({ ...entry })), [{ partition: 0, offset }], `offset at +${after} ms`)
  }
  const latest = await admin.fetchTopicOffsetsByTimestamp(topic)
  assert.equal(latest[0].offset, '40', 'without a time: the end')
  const consumer = await run.consumer()
  await consumer.subscribe({ topic, fromBeginning: true })
  const records = collect(consumer)
  consumer.seek({ topic, partition: 0, offset: '14' })
  await records.atLeast(26)
  expectFrom(records.all.slice(-26), messages, 14)
}

async function topic_offsets(run) {
  const topic = await run.topic(2)
  const admin = await run.admin()
  const empty = (await admin.fetchTopicOffsets(topic)).map(entry => [entry.partition, entry.low, entry.high])
  assert.deepEqual(empty.sort(), [[0, '0', '0'], [1, '0', '0']])
  const messages = keyed(30, 3).map((message, i) => ({ ...message, partition: i % 3 === 0 ? 0 : 1 }))
  await (await run.producer()).send({ topic, messages })
  const filledUp = (await admin.fetchTopicOffsets(topic)).map(({ partition, offset, low, high }) => [
    partition, offset, low, high,
  ])
  assert.deepEqual(filledUp.sort(), [[0, '10', '0', '10'], [1, '20', '0', '20']])
}

/** Resolves half of each batch by hand: what was not resolved comes again, and only that. */
async function each_batch_resolve_offset(run) {
  const { topic, messages } = await filled(run)
  const groupId = run.unique('group')
  const consumer = await run.consumer({ groupId })
  await consumer.subscribe({ topic, fromBeginning: true })
  const resolved = []
  consumer.run({
    autoCommit: false,
    eachBatchAutoResolve: false,
    eachBatch: async ({ batch, resolveOffset, commitOffsetsIfNecessary, uncommittedOffsets, heartbeat, isRunning, isStale }) => {
      assert.equal(batch.topic, topic)
      assert.equal(batch.highWatermark, '100')
      const half = batch.messages.slice(0, Math.ceil(batch.messages.length / 2))
      for (const message of half) {
        if (!isRunning() || isStale()) return
        resolved.push(plain(batch.partition, message))
        resolveOffset(message.offset)
      }
      await heartbeat()
      await commitOffsetsIfNecessary(uncommittedOffsets())
    },
  })
  await run.eventually(CONSUME_TIMEOUT_MS, () => (resolved.length >= 100 ? '' : `${resolved.length} resolved`))
  await consumer.disconnect()
  verifyLog(messages, resolved)
  const committed = await (await run.admin()).fetchOffsets({ groupId, topics: [topic] })
  assert.equal(committed[0].partitions[0].offset, '100')
}

async function pause_and_resume(run) {
  const topic = await run.topic(2)
  const messages = keyed(40, 4).map((message, i) => ({ ...message, key: `key-${i % 2}`, partition: i % 2 }))
  const consumer = await run.consumer()
  await consumer.subscribe({ topic, fromBeginning: true })
  const ready = joined(consumer)
  const records = collect(consumer, { partitionsConsumedConcurrently: 2 })
  await ready
  consumer.pause([{ topic, partitions: [1] }])
  assert.deepEqual(consumer.paused(), [{ topic, partitions: [1] }])
  const producer = await run.producer()
  await producer.send({ topic, messages })
  await records.atLeast(20)
  await sleep(1000)
  assert.deepEqual([...new Set(records.all.map(record => record.partition))], [0], 'partitions read while 1 is paused')
  assert.equal(records.all.length, 20)
  consumer.resume([{ topic, partitions: [1] }])
  await records.atLeast(40)
  verifyLog(messages, records.all)
}

async function read_uncommitted_and_committed(run) {
  const { topic, messages } = await filled(run)
  for (const readUncommitted of [true, false]) {
    verifyLog(messages, await run.consume(topic, messages.length, { readUncommitted }))
  }
}

/** Less than one batch per answer is allowed: the broker still has to make progress (KIP-74). */
async function small_fetches(run) {
  const topic = await run.topic(3)
  const producer = await run.producer()
  const messages = keyed(60, 6).map(message => ({ ...message, value: message.value.padEnd(20_000, '.') }))
  for (let i = 0; i < 60; i += 6) await producer.send({ topic, messages: messages.slice(i, i + 6) })
  verifyLog(messages, await run.consume(topic, 60, { maxBytes: 1000, maxBytesPerPartition: 500 }))
}

async function several_topics(run) {
  const topics = [await run.topic(1), await run.topic(3)]
  const messages = keyed(90, 9)
  const producer = await run.producer()
  for (const topic of topics) await producer.send({ topic, messages })
  const consumer = await run.consumer()
  await consumer.subscribe({ topics, fromBeginning: true })
  const byTopic = new Map(topics.map(topic => [topic, []]))
  consumer.run({
    eachMessage: async ({ topic, partition, message }) => {
      byTopic.get(topic).push(plain(partition, message))
    },
  })
  await run.eventually(CONSUME_TIMEOUT_MS, () => {
    const counts = [...byTopic.values()].map(records => records.length)
    return counts.every(count => count >= 90) ? '' : `consumed ${counts}`
  })
  for (const records of byTopic.values()) verifyLog(messages, records)
}

module.exports = {
  consume_from_start,
  consume_from_end,
  seek,
  seek_by_timestamp,
  topic_offsets,
  each_batch_resolve_offset,
  pause_and_resume,
  read_uncommitted_and_committed,
  small_fetches,
  several_topics,
}
