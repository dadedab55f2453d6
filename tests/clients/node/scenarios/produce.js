'use strict'

const assert = require('node:assert/strict')
const { CompressionTypes } = require('kafkajs')
const { keyed, verifyLog } = require('../harness')

/** Sends in slices and checks each answer: a base offset per partition, right behind the slice before. */
async function sendInSlices(producer, topic, messages, slice, options = {}) {
  const next = new Map()
  for (let i = 0; i < messages.length; i += slice) {
    const answers = await producer.send({ topic, messages: messages.slice(i, i + slice), ...options })
    for (const { partition, baseOffset, errorCode } of answers) {
      assert.equal(errorCode, 0)
      const before = next.get(partition) ?? -1
      assert.ok(Number(baseOffset) > before, `base offset ${baseOffset} in partition ${partition} after ${before}`)
      if (before === -1) assert.equal(baseOffset, '0', `first base offset in partition ${partition}`)
      next.set(partition, Number(baseOffset))
    }
  }
}

async function roundTrip(run, { producer = {}, send = {}, count = 600 } = {}) {
  const topic = await run.topic(3)
  const messages = keyed(count, 60)
  await sendInSlices(await run.producer(producer), topic, messages, 100, send)
  verifyLog(messages, await run.consume(topic, messages.length))
}

async function default_settings(run) {
  const topic = await run.topic(6)
  const messages = keyed(5000, 500)
  await sendInSlices(await run.producer(), topic, messages, 500)
  const ends = verifyLog(messages, await run.consume(topic, messages.length))
  assert.equal(ends.size, 6, 'partitions used')
  const admin = await run.admin()
  for (const { partition, low, high } of await admin.fetchTopicOffsets(topic)) {
    assert.equal(low, '0')
    assert.equal(Number(high), ends.get(partition), `end of partition ${partition}`)
  }
}

async function acks_none(run) {
  const topic = await run.topic(1)
  const messages = keyed(400, 40)
  const producer = await run.producer()
  for (let i = 0; i < messages.length; i += 100) {
    await producer.send({ topic, messages: messages.slice(i, i + 100), acks: 0 })
  }
  verifyLog(messages, await run.consume(topic, messages.length))
}

/** Several sends under way at once on one connection; each topic keeps its order. */
async function concurrent_sends(run) {
  const topics = [await run.topic(2), await run.topic(2), await run.topic(2)]
  const producer = await run.producer()
  const messages = keyed(300, 30)
  await Promise.all(topics.map(topic => sendInSlices(producer, topic, messages, 50)))
  for (const topic of topics) verifyLog(messages, await run.consume(topic, messages.length))
}

async function many_partitions(run) {
  const partitions = 200
  const topic = await run.topic(partitions)
  const messages = keyed(partitions * 5, partitions)
  messages.forEach((message, i) => Object.assign(message, { partition: i % partitions }))
  const answers = await (await run.producer()).send({ topic, messages })
  assert.equal(answers.length, partitions)
  for (const { errorCode, baseOffset } of answers) assert.deepEqual([errorCode, baseOffset], [0, '0'])
  const ends = verifyLog(messages, await run.consume(topic, messages.length))
  for (let partition = 0; partition < partitions; partition += 1) assert.equal(ends.get(partition), 5)
}

async function send_batch(run) {
  const topics = [await run.topic(2), await run.topic(2)]
  const messages = keyed(100, 10)
  const producer = await run.producer()
  const answers = await producer.sendBatch({ topicMessages: topics.map(topic => ({ topic, messages })) })
  assert.deepEqual([...new Set(answers.map(answer => answer.topicName))].sort(), [...topics].sort())
  for (const topic of topics) verifyLog(messages, await run.consume(topic, messages.length))
}

module.exports = {
  default_settings,
  idempotent_producer: run => roundTrip(run, { producer: { idempotent: true } }),
  non_idempotent_producer: run => roundTrip(run, { producer: { idempotent: false } }),
  acks_none,
  acks_leader: run => roundTrip(run, { send: { acks: 1 } }),
  acks_all: run => roundTrip(run, { send: { acks: -1 } }),
  concurrent_sends,
  many_partitions,
  send_batch,
  compression_none: run => roundTrip(run, { send: { compression: CompressionTypes.None } }),
  compression_gzip: run => roundTrip(run, { send: { compression: CompressionTypes.GZIP } }),
  compression_snappy: run => roundTrip(run, { send: { compression: CompressionTypes.Snappy } }),
  compression_lz4: run => roundTrip(run, { send: { compression: CompressionTypes.LZ4 } }),
  compression_zstd: run => roundTrip(run, { send: { compression: CompressionTypes.ZSTD } }),
  compression_idempotent: run =>
    roundTrip(run, { producer: { idempotent: true }, send: { compression: CompressionTypes.ZSTD } }),
}
