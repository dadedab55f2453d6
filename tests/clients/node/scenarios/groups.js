'use strict'

const assert = require('node:assert/strict')
const { AssignerProtocol } = require('kafkajs')
const { indexOf, keyed, plain, sameRecord, CONSUME_TIMEOUT_MS } = require('../harness')

const PARTITIONS = 6
const GROUP_WAIT_MS = 25_000 // covers Kafka's initial rebalance delay of 3 s and two rebalances

/** One consumer of a group with what it owns and what it has read. */
class Member {
  static async join(run, groupId, topic) {
    const member = new Member()
    member.consumer = await run.consumer({ groupId })
    member.owned = []
    member.id = null
    member.records = []
    const { GROUP_JOIN, REBALANCING } = member.consumer.events
    member.consumer.on(GROUP_JOIN, ({ payload }) => {
      member.owned = [...(payload.memberAssignment[topic] ?? [])].sort()
      member.id = payload.memberId
    })
    member.consumer.on(REBALANCING, () => {
      member.owned = []
    })
    await member.consumer.subscribe({ topic, fromBeginning: true })
    member.consumer.run({
      eachMessage: async ({ partition, message }) => {
        member.records.push(plain(partition, message))
      },
    })
    return member
  }

  async leave() {
    await this.consumer.disconnect()
    this.owned = []
  }
}

/** Waits for an even share each, one owner per partition, and the broker saying the same. */
async function awaitStable(run, admin, groupId, topic, members) {
  await run.eventually(GROUP_WAIT_MS, async () => {
    const owned = members.flatMap(member => member.owned)
    const even = members.every(member => member.owned.length === PARTITIONS / members.length)
    if (!even || new Set(owned).size !== PARTITIONS) return `owned: ${JSON.stringify(members.map(m => m.owned))}`
    const { groups } = await admin.describeGroups([groupId])
    const [group] = groups
    if (group.state !== 'Stable' || group.members.length !== members.length) {
      return `${group.state} with ${group.members.length} members`
    }
    assert.deepEqual([group.protocolType, group.protocol], ['consumer', 'RoundRobinAssigner'])
    for (const { memberId, memberAssignment } of group.members) {
      const { assignment } = AssignerProtocol.MemberAssignment.decode(memberAssignment)
      const member = members.find(m => m.id === memberId)
      if (!member || String([...assignment[topic]].sort()) !== String(member.owned)) return `${memberId} differs`
    }
    return ''
  })
}

/** Produces to every partition of a stable group; each record must be delivered once, to its owner. */
async function phase(run, producer, topic, members, first) {
  const messages = keyed(120, PARTITIONS, first)
  messages.forEach((message, i) => Object.assign(message, { partition: i % PARTITIONS }))
  await producer.send({ topic, messages })
  const deliveries = () => members.flatMap(m => m.records.filter(record => indexOf(record) >= first).map(r => [m, r]))
  await run.eventually(CONSUME_TIMEOUT_MS, () => {
    const seen = new Set(deliveries().map(([, record]) => indexOf(record)))
    return seen.size === messages.length ? '' : `${seen.size} of ${messages.length} records`
  })
  assert.equal(deliveries().length, messages.length, 'deliveries in a stable group')
  for (const [member, record] of deliveries()) {
    assert.ok(member.owned.includes(record.partition), `partition ${record.partition} was read by its owner`)
    sameRecord(record, messages[indexOf(record) - first])
  }
}

async function group_grows_and_shrinks(run) {
  const topic = await run.topic(PARTITIONS)
  const groupId = run.unique('group')
  const admin = await run.admin()
  const producer = await run.producer()
  const members = [await Member.join(run, groupId, topic)]
  const stable = () => awaitStable(run, admin, groupId, topic, members)
  await stable()
  await phase(run, producer, topic, members, 0)
  members.push(...(await Promise.all([Member.join(run, groupId, topic), Member.join(run, groupId, topic)])))
  await stable()
  await phase(run, producer, topic, members, 120)
  await Promise.all(members.splice(1).map(member => member.leave()))
  await stable()
  await phase(run, producer, topic, members, 240)
  await members[0].leave()
  const [committed] = await admin.fetchOffsets({ groupId, topics: [topic] })
  assert.equal(committed.partitions.length, PARTITIONS)
  for (const { partition, offset } of committed.partitions) assert.equal(offset, '60', `committed in ${partition}`)
}

async function list_describe_delete_group(run) {
  const topic = await run.topic(PARTITIONS)
  const groupId = run.unique('group')
  const admin = await run.admin()
  const [absent] = (await admin.describeGroups([groupId])).groups
  assert.deepEqual([absent.state, absent.members.length], ['Dead', 0])
  const member = await Member.join(run, groupId, topic)
  await awaitStable(run, admin, groupId, topic, [member])
  const listed = async () => (await admin.listGroups()).groups.filter(group => group.groupId === groupId)
  assert.deepEqual((await listed()).map(group => ({ ...group })), [{ groupId, protocolType: 'consumer' }])
  await deletionFails(admin, groupId, 'NON_EMPTY_GROUP')
  await member.leave()
  const [empty] = (await admin.describeGroups([groupId])).groups
  assert.deepEqual([empty.state, empty.members.length], ['Empty', 0])
  const [deleted] = await admin.deleteGroups([groupId])
  assert.equal(deleted.errorCode, 0)
  assert.deepEqual(await listed(), [])
  await deletionFails(admin, groupId, 'GROUP_ID_NOT_FOUND')
}

/** kafkajs collects the failures of a deletion in `groups` of its error. */
async function deletionFails(admin, groupId, type) {
  const outcome = await admin.deleteGroups([groupId]).catch(error => error)
  assert.ok(outcome.groups, `deleting the group fails with ${type}, not ${outcome.message ?? 'success'}`)
  assert.deepEqual(outcome.groups.map(group => group.error?.type), [type])
}

/** The same group again: it goes on behind what the first member has committed. */
async function group_goes_on_after_restart(run) {
  const topic = await run.topic(PARTITIONS)
  const groupId = run.unique('group')
  const admin = await run.admin()
  const producer = await run.producer()
  const first = await Member.join(run, groupId, topic)
  await awaitStable(run, admin, groupId, topic, [first])
  await phase(run, producer, topic, [first], 0)
  await first.leave()
  const second = await Member.join(run, groupId, topic)
  await awaitStable(run, admin, groupId, topic, [second])
  await phase(run, producer, topic, [second], 120)
  assert.equal(second.records.length, 120, 'nothing comes twice')
  const reset = admin.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset: '0' }] })
  await assert.rejects(reset, /must have no running instances, current state: Stable/)
}

module.exports = {
  group_grows_and_shrinks,
  list_describe_delete_group,
  group_goes_on_after_restart,
}
