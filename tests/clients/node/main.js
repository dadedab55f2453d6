'use strict'
// Scenarios that a kafkajs client plays against a Kafka broker.
//
// usage: node main.js [--list] host:port [scenario ...]
//
// Each scenario uses topics and groups of its own and ends in one JSON line on standard output:
// {"name", "ok", "detail", "seconds"}. The exit status is 0 when the program ran to its end, whatever
// the scenarios said.

const { Run } = require('./harness')

const SCENARIO_TIMEOUT_MS = 75_000 // the slowest takes about 15 s against Apache Kafka
const PARALLEL = 4 // most of a scenario is waiting for the group's initial rebalance delay

const scenarios = {
  ...require('./scenarios/produce'),
  ...require('./scenarios/records'),
  ...require('./scenarios/topics'),
  ...require('./scenarios/consume'),
  ...require('./scenarios/groups'),
  ...require('./scenarios/offsets'),
}

async function withTimeout(promise) {
  let timer
  const expired = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${SCENARIO_TIMEOUT_MS} ms`)), SCENARIO_TIMEOUT_MS)
  })
  try {
    await Promise.race([promise, expired])
  } finally {
    clearTimeout(timer)
  }
}

async function play(bootstrap, name) {
  const started = Date.now()
  const run = new Run(bootstrap, name)
  let detail = ''
  try {
    if (!scenarios[name]) throw new Error('unknown scenario')
    await withTimeout(scenarios[name](run))
  } catch (error) {
    detail = `${error.stack || error}\n${run.log.slice(-5).join('\n')}`.trim()
  }
  await run.close()
  const seconds = (Date.now() - started) / 1000
  process.stdout.write(`${JSON.stringify({ name, ok: detail === '', detail, seconds })}\n`)
}

async function main([bootstrap, ...names]) {
  if (bootstrap === '--list') {
    process.stdout.write(`${Object.keys(scenarios).sort().join('\n')}\n`)
    return
  }
  if (!bootstrap) {
    process.stderr.write('usage: node main.js [--list] host:port [scenario ...]\n')
    process.exitCode = 2
    return
  }
  const queue = names.length ? names : Object.keys(scenarios).sort()
  const worker = async () => {
    while (queue.length) await play(bootstrap, queue.shift())
  }
  await Promise.all(Array.from({ length: PARALLEL }, worker))
  process.exit(0) // a client that could not be closed must not keep the program running
}

main(process.argv.slice(2))
