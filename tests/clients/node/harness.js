'use strict'

const assert = require('node:assert/strict')
const crypto = require('node:crypto')
const { Kafka, logLevel } = require('kafkajs')
require('./codecs')

process.env.KAFKAJS_NO_PARTITIONER_WARNING = '1'

const CONSUME_TIMEOUT_MS = 30_000
const CLOSE_TIMEOUT_MS = 10_000

// Far enough from now that a broker which stamps records itself cannot hit it; young enough for retention.ms, which
// Kafka applies half a minute after it starts and then every five minutes.
const AN_HOUR_AGO = Date.now() - 3_600_000

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))

/** One scenario being played: its names, its clients and what kafkajs logged. */
class Run {
  constructor(bootstrap, name) {
    this.prefix = `kj-${name}-${crypto.randomBytes(4).toString('hex')}`
    this.names = 0
    this.clients = []
    this.log = []
    const logCreator = () => entry => this.log.push(`${entry.namespace}: ${JSON.stringify(entry.log)}`)
    this.kafka = new Kafka({ brokers: [bootstrap], logLevel: logLevel.WARN, logCreator })
  }

  unique(kind) {
    this.names += 1
    return `${this.prefix}-${kind}${this.names}`
  }

  async connected(client) {
    this.clients.push(client)
    await client.connect()
    return client
  }

  producer(options = {}) {
    return this.connected(this.kafka.producer(options))
  }

  admin(options = {}) {
    return this.connected(this.kafka.admin(options))
  }

  /** A consumer of a group of its own unless one is named, with short waits instead of kafkajs's 5 s and 3 s. */
  consumer(options = {}) {
    const common = { groupId: this.unique('group'), maxWaitTimeInMs: 300, heartbeatInterval: 300 }
    const consumer = this.kafka.consumer({ ...common, ...options })
    for (const event of [consumer.events.GROUP_JOIN, consumer.events.REBALANCING, consumer.events.CRASH]) {
      consumer.on(event, ({ payload }) => this.log.push(`${new Date().toISOString()} ${event}: ${JSON.stringify(payload)}`))
    }
    return this.connected(consumer)
  }

  async topic(numPartitions, configEntries = []) {
    const topic = this.unique('topic')
    await this.create(await this.admin(), { topic, numPartitions, configEntries })
    return topic
  }

  /** Creates a topic and waits until every partition has a leader that answers. */
  async create(admin, topic) {
    assert.equal(await admin.createTopics({ topics: [topic], waitForLeaders: false }), true)
    await this.ready(admin, topic)
  }

  ready(admin, { topic, numPartitions }) {
    return this.eventually(15_000, () => unready(admin, { topic, numPartitions }))
  }

  /** Reads the topic from its start until n records are there; one more is a failure. */
  async consume(topic, n, options = {}) {
    const consumer = await this.consumer(options)
    await consumer.subscribe({ topic, fromBeginning: true })
    const records = collect(consumer)
    await records.atLeast(n)
    await consumer.disconnect()
    assert.equal(records.all.length, n, 'records consumed')
    return records.all
  }

  /** Polls until the condition gives '' instead of what is still missing. */
  async eventually(withinMs, condition) {
    const deadline = Date.now() + withinMs
    for (;;) {
      const missing = await condition()
      if (missing === '') return
      if (Date.now() > deadline) throw new Error(`not within ${withinMs} ms: ${missing}`)
      await sleep(50)
    }
  }

  async close() {
    const closing = Promise.allSettled(this.clients.map(client => client.disconnect()))
    await Promise.race([closing, sleep(CLOSE_TIMEOUT_MS)])
  }
}

/**
 * What a new topic or partition still lacks. Where a leader is missing kafkajs sends the whole request again, and a producer that is
 * not idempotent then writes the other partitions' records twice.
 */
async function unready(admin, { topic, numPartitions }) {
  try {
    const offsets = await admin.fetchTopicOffsets(topic)
    return offsets.length === numPartitions ? '' : `${topic} has ${offsets.length} partitions`
  } catch (error) {
    return `${topic}: ${error.message}`
  }
}

/** Runs the consumer and keeps what it is given. */
function collect(consumer, runOptions = {}) {
  const records = { all: [] }
  consumer.run({
    ...runOptions,
    eachMessage: async ({ partition, message }) => {
      records.all.push(plain(partition, message))
    },
  })
  records.atLeast = async n => {
    const deadline = Date.now() + CONSUME_TIMEOUT_MS
    while (records.all.length < n) {
      if (Date.now() > deadline) throw new Error(`consumed ${records.all.length} of ${n} records`)
      await sleep(20)
    }
  }
  return records
}

function plain(partition, { offset, key, value, headers, timestamp }) {
  return { partition, offset: Number(offset), key, value, headers, timestamp }
}

/** n messages that say their own place in the order, over `keys` different keys. */
function keyed(n, keys, first = 0) {
  return Array.from({ length: n }, (_, i) => ({
    key: `key-${(first + i) % keys}`,
    value: `value-${first + i}-${'x'.repeat((i * 7) % 290)}`,
    headers: { index: String(first + i) },
    timestamp: String(AN_HOUR_AGO + first + i),
  }))
}

const indexOf = record => Number(record.headers.index.toString())

/** Content, order within each partition, dense offsets, one partition per key: for messages made by keyed(). */
function verifyLog(sent, consumed) {
  assert.equal(consumed.length, sent.length, 'record count')
  const next = new Map()
  const lastIndex = new Map()
  const homeOfKey = new Map()
  const seen = new Set()
  for (const record of consumed) {
    const { partition, offset } = record
    const index = indexOf(record)
    assert.equal(offset, next.get(partition) ?? 0, `next offset in partition ${partition}`)
    next.set(partition, offset + 1)
    assert.ok(index > (lastIndex.get(partition) ?? -1), `order in partition ${partition} at offset ${offset}`)
    lastIndex.set(partition, index)
    assert.ok(!seen.has(index), `record ${index} is there once`)
    seen.add(index)
    const message = sent[index]
    assert.equal(homeOfKey.get(message.key) ?? partition, partition, `partition of ${message.key}`)
    homeOfKey.set(message.key, partition)
    sameRecord(record, message)
  }
  return next
}

const bytes = value => (value === null || value === undefined ? null : Buffer.from(value))

/** Tells null from empty. */
function sameRecord(record, message) {
  const at = `partition ${record.partition}, offset ${record.offset}`
  sameBytes(record.key, bytes(message.key), `key at ${at}`)
  sameBytes(record.value, bytes(message.value), `value at ${at}`)
  if (message.timestamp) assert.equal(record.timestamp, message.timestamp, `timestamp at ${at}`)
  const headers = Object.entries(message.headers ?? {}).map(([name, value]) => [name, [value].flat().map(bytes)])
  const got = Object.entries(record.headers).map(([name, value]) => [name, [value].flat()])
  assert.deepEqual(got, headers, `headers at ${at}`)
}

function sameBytes(got, want, what) {
  if (got === null || want === null) assert.equal(got, want, what)
  else assert.ok(got.equals(want), `${what}: ${got.length} bytes, not the ${want.length} that were sent`)
}

/** Waits for the promise to fail with a Kafka error of that name. */
async function rejects(promise, type) {
  try {
    await promise
  } catch (error) {
    const errors = [error, error.cause, ...(error.errors ?? [])].filter(Boolean)
    const types = errors.map(e => e.type)
    assert.ok(types.includes(type), `fails with ${type}, not ${types} (${error.message})`)
    return
  }
  assert.fail(`did not fail with ${type}`)
}

module.exports = { Run, collect, keyed, indexOf, plain, rejects, sameRecord, sleep, verifyLog, CONSUME_TIMEOUT_MS }
