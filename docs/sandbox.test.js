// Tests in Node against the sandbox, which they start: `node --test sandbox.test.js`.
// They need Node 20 and the command `veriplex`, or another one in VERIPLEX_COMMAND, and no packages.
'use strict'

const assert = require('node:assert/strict')
const { spawn } = require('node:child_process')
const { once } = require('node:events')
const { createInterface } = require('node:readline')
const { after, before, beforeEach, test } = require('node:test')

const [command, ...args] = (process.env.VERIPLEX_COMMAND || 'veriplex').split(' ')

let server, url, key

before(async () => {
  server = spawn(command, [...args, 'sandbox', '--port', '0'], { stdio: ['ignore', 'pipe', 'inherit'] })
  for await (const line of createInterface({ input: server.stdout })) {
    const found = /^listening on (\S+)/.exec(line)
    if (found) {
      url = found[1]
      break
    }
  }
  assert.ok(url, 'the sandbox ended before it listened')
  server.stdout.resume()
})

after(async () => {
  server.kill()
  await once(server, 'exit')
})

// Each test has keys of its own, and so its own requests and faults.
beforeEach(async () => {
  key = (await control('POST', 'keys')).keys.emailable
})

async function control(method, call, body) {
  const target = new URL(`${url}/veriplex/v1/${call}`)
  if (key) target.searchParams.set('key', key)
  const reply = await fetch(target, {
    method,
    headers: body ? { 'Content-Type': 'application/json' } : {},
    body: body && JSON.stringify(body),
  })
  assert.equal(reply.status, 200, `${method} ${call}`)
  return reply.json()
}

// The code under test: with the official client, set the base URL as docs/sandbox.md shows.
function verify(email) {
  const query = new URLSearchParams({ email })
  return fetch(`${url}/emailable/v1/verify?${query}`, { headers: { Authorization: `Bearer ${key}` } })
}

test('a known address is deliverable', async () => {
  const reply = await verify('deliverable@example.com')
  assert.equal((await reply.json()).state, 'deliverable')
  const { requests } = await control('GET', 'requests?operation=verify')
  assert.deepEqual(requests.map((request) => request.status), [200])
})

test('a rate limit ends', async () => {
  await control('POST', 'faults', { operation: 'verify', simulate: '429', times: 1 })
  assert.equal((await verify('ada@example.org')).status, 429)
  assert.equal((await verify('ada@example.org')).status, 200)
  assert.equal((await control('GET', 'requests/count')).count, 2)
})

test('an unknown mailbox is undeliverable', async () => {
  const reply = await verify('undeliverable@example.com')
  assert.equal((await reply.json()).reason, 'rejected_email')
})
