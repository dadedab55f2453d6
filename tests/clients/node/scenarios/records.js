'use strict'

const assert = require('node:assert/strict')
const crypto = require('node:crypto')
const { rejects, sameRecord } = require('../harness')

/** Sends to the one partition of a new topic and compares what comes back, in order. */
async function roundTrip(run, messages, { slices = false } = {}) {
  const topic = await run.topic(1)
  const producer = await run.producer()
  if (slices) for (const message of messages) await producer.send({ topic, messages: [message] })
  else await producer.send({ topic, messages })
  const consumed = await run.consume(topic, messages.length)
  consumed.forEach((record, i) => {
    assert.equal(record.offset, i)
    sameRecord(record, messages[i])
  })
  return consumed
}

// kafkajs cannot send a header without a value, and keeps repeated headers together under their name.
async function headers(run) {
  await roundTrip(run, [
    { value: 'none' },
    { value: 'one', headers: { a: '1' } },
    { value: 'order', headers: { z: 'first', a: 'second', m: 'third' } },
    { value: 'repeated', headers: { a: ['1', '2', '3'], b: 'x' } },
    { value: 'empty', headers: { empty: '' } },
    { value: 'bytes', headers: { 'schlüssel-\u20ac': Buffer.from([0, 1, 255, 254]), long: crypto.randomBytes(5000) } },
  ])
}

async function null_and_empty(run) {
  await roundTrip(run, [
    { key: null, value: 'null key' },
    { key: '', value: 'empty key' },
    { key: 'null value', value: null },
    { key: 'empty value', value: '' },
    { key: null, value: null },
    { key: '', value: '' },
  ])
}

async function timestamps_kept(run) {
  const now = Date.now()
  const hour = 3_600_000
  const times = [now, now - 36 * hour, now - 60_000, now - 72 * hour, now - 1]
  await roundTrip(run, times.map((time, i) => ({ value: `value ${i}`, timestamp: String(time) })))
}

async function log_append_time(run) {
  const topic = await run.topic(1, [{ name: 'message.timestamp.type', value: 'LogAppendTime' }])
  const before = Date.now()
  const messages = [{ value: 'x', timestamp: String(before - 3_600_000) }]
  const [answer] = await (await run.producer()).send({ topic, messages })
  const after = Date.now()
  const [record] = await run.consume(topic, 1)
  const stored = Number(record.timestamp)
  assert.ok(stored >= before && stored <= after, `${before} <= ${stored} <= ${after}`)
  assert.equal(answer.logAppendTime, record.timestamp, 'append time in the answer')
}

async function large_records(run) {
  const value = () => crypto.randomBytes(1_000_000)
  const messages = [{ value: value() }, { key: 'k', value: value() }, { value: 'small' }, { value: value() }]
  await roundTrip(run, messages, { slices: true })
}

async function message_too_large(run) {
  const topic = await run.topic(1)
  const producer = await run.producer()
  await producer.send({ topic, messages: [{ value: 'before' }] })
  for (const size of [1_048_588, 3_000_000]) {
    await rejects(producer.send({ topic, messages: [{ value: crypto.randomBytes(size) }] }), 'MESSAGE_TOO_LARGE')
  }
  const [answer] = await producer.send({ topic, messages: [{ value: 'after' }] })
  assert.equal(answer.baseOffset, '1', 'a refused record takes no offset')
  const values = (await run.consume(topic, 2)).map(record => record.value.toString())
  assert.deepEqual(values, ['before', 'after'])
}

module.exports = {
  headers,
  null_and_empty,
  timestamps_kept,
  log_append_time,
  large_records,
  message_too_large,
}
