// A slice of the fault suite; `node test/faults/run.ts` has all of it.
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { present } from '../support/clients.ts'
import { type Stack, startStack } from '../support/stack.ts'
import { clientTls } from '../support/tls-client.ts'
import { cutClients, playWhole } from './client-cuts.ts'
import { conversationSetup } from './conversation.ts'
import { slowLoris, storm } from './crowds.ts'
import { idleCrowd } from './idle-crowd.ts'
import { cutLogins } from './login-cuts.ts'
import { type OwnCluster, startOwn } from './own-cluster.ts'
import { parts } from './parts.ts'
import { describeReport, everyNth, type Report } from './report.ts'
import { restartUnderLoad } from './restarts.ts'
import { cutServers, type RelayedStack, startRelayed } from './server-cuts.ts'

const servers = present(inject('servers')[0])
const trust = {
  authRules: [{ database: null, user: null, address: null, method: 'trust' }],
} as const
const timeout = 120_000
const share = Number(process.env['RINGFENCE_FAULTS'] ?? 16)

/** The first complaints; what was seen goes to the log. */
function wrongs(report: Report): readonly string[] {
  process.stdout.write(`${describeReport(report)}\n`)
  return report.complaints.slice(0, 10)
}

describe.each([
  { lanes: 0, name: 'without the fast lane' },
  { lanes: 1, name: 'with the fast lane' },
])('$name', ({ lanes, name }) => {
  let relayed: RelayedStack
  beforeAll(async () => {
    const pool = { size: 3, laneServersMax: lanes }
    relayed = await startRelayed(servers, { ...trust, pool, setupSql: conversationSetup })
  })
  afterAll(async () => {
    await relayed.stack.close()
    await relayed.relay.close()
  })

  it('clients that die at any byte leave nothing behind', { timeout }, async () => {
    expect(wrongs(await playWhole(relayed.stack, name))).toEqual([])
    expect(wrongs(await cutClients(relayed.stack, name, everyNth(share)))).toEqual([])
  })

  it('servers that die at any byte cost what they were doing, and no more', {
    timeout,
  }, async () => {
    expect(wrongs(await cutServers(relayed, name, everyNth(share)))).toEqual([])
  })
})

describe('logins', () => {
  let stack: Stack
  beforeAll(async () => {
    stack = await startStack(servers, { shards: 1, tls: clientTls({ mode: 'prefer' }) })
  })
  afterAll(() => stack.close())

  it('that break off at any byte leave nothing behind', { timeout }, async () => {
    expect(wrongs(await cutLogins(stack, everyNth(Math.max(1, Math.floor(share / 3)))))).toEqual([])
  })
})

describe('processes', () => {
  it('of servers that are killed at any message cost what they were doing, and no more', {
    timeout,
  }, async () => {
    const reports = await parts.kills(servers, everyNth(share * 4))
    expect(reports.flatMap(wrongs)).toEqual([])
  })

  it('of clients that are killed at any message leave nothing behind', { timeout }, async () => {
    const reports = await parts.clients(servers, everyNth(share * 2))
    expect(reports.flatMap(wrongs)).toEqual([])
  })

  it('of workers that are killed at any message take their own clients along, and no more', {
    timeout,
  }, async () => {
    const reports = await parts.workers(servers, everyNth(share))
    expect(reports.flatMap(wrongs)).toEqual([])
  })
})

describe('a server that restarts under load', () => {
  let own: OwnCluster
  beforeAll(async () => {
    own = await startOwn(servers.version)
  })
  afterAll(() => own.stop())

  it('loses nothing that was acknowledged, and everybody goes on', { timeout }, async () => {
    const report = await restartUnderLoad(own, { rounds: 1, autoPrepare: true })
    expect(wrongs(report)).toEqual([])
  })
})

describe('crowds', () => {
  const loginTimeoutMs = 2_000
  let stack: Stack
  beforeAll(async () => {
    stack = await startStack(servers, { shards: 1, ...trust, limits: { loginTimeoutMs } })
  })
  afterAll(() => stack.close())

  it('of slow connections are cut at the login timeout, and disturb nobody', {
    timeout,
  }, async () => {
    expect(wrongs(await slowLoris(stack, { count: 100, loginTimeoutMs }))).toEqual([])
  })

  it('of idle clients cost nobody anything, also when all vanish at once', {
    timeout,
  }, async () => {
    expect(wrongs(await idleCrowd(servers, 500))).toEqual([])
  })

  it('that connect at once are all served', { timeout }, async () => {
    expect(wrongs(await storm(stack, 200))).toEqual([])
  })
})
