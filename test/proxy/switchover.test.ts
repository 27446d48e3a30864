// The planned switchover of docs/operations.md, step by step with plain pg_ctl, while clients work through two proxies:
// not one of them sees an error, and nothing that was acknowledged is lost. Once by the admin console, once by
// `ringfence shard`.
import { access, appendFile, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import type { Installation } from '../../demo/installation.ts'
import { runCommand } from '../../demo/process.ts'
import { demoRole, superuser } from '../../demo/roles.ts'
import { giveToServers, serverUser } from '../../demo/server-user.ts'
import { runProgram } from '../cli/program.ts'
import { askServer, pause, present, until, withClient } from '../support/clients.ts'
import { installationOf } from '../support/postgres-installation.ts'
import type { ReplicatedHost } from '../support/replicated-shard.ts'
import { type ReplicatedStack, startReplicatedStack } from '../support/replicated-stack.ts'
import { faultsOf, ledgerSql, Load } from './failover-load.ts'

const deadlineMs = 60_000
/** Statements are held for longer than they would wait for a primary that was lost. */
const failoverWaitMs = 1_000
const heldMs = 1_300
// Debian's servers come with pg_controldata, npm's do not.
const version = Math.min(...inject('servers').map((servers) => servers.version))

let installation: Installation
let stack: ReplicatedStack
let dir: string
let hosts: { readonly a: ReplicatedHost; readonly b: ReplicatedHost }
let ids = 0

beforeAll(async () => {
  installation = await installationOf(version)
  dir = await mkdtemp(join(tmpdir(), 'rf-switchover-'))
  stack = await startReplicatedStack({
    shards: 1,
    replicas: 1,
    proxies: 2,
    version,
    setupSql: ledgerSql,
    failover: { waitMs: failoverWaitMs },
  })
  const shard = present(stack.shards[0])
  hosts = { a: shard.host('s1-a'), b: shard.host('s1-b') }
}, deadlineMs)
afterAll(async () => {
  await stack?.stop()
  await rm(dir, { recursive: true, force: true })
}, deadlineMs)

const places = () => [stack.place(0), stack.place(1)]

async function startLoad(): Promise<Load> {
  ids += 1_000_000
  const clients = { writers: 5, readers: 5, movers: 4 }
  const load = new Load({ places: places(), clients, pauseMs: 20 }, ids)
  await load.start()
  await until('it is under way', () => load.statements > 300, 30_000)
  return load
}

/** One of PostgreSQL's programs, as the user that the servers run as. */
function program(name: string, ...args: readonly string[]): Promise<string> {
  return runCommand(join(installation.binDir, name), args, { ...serverUser(), cwd: '/' })
}

/** Location of the last checkpoint of a stopped server; null where nothing can tell. */
async function checkpointOf({ server }: ReplicatedHost): Promise<string | null> {
  const path = join(installation.binDir, 'pg_controldata')
  const exists = await access(path).then(
    () => true,
    () => false,
  )
  if (!exists) return null
  const text = await program('pg_controldata', server.dataDir)
  return present(/^Latest checkpoint location: +(\S+)$/m.exec(text)?.[1])
}

/** Step 6: the old primary follows the new one. */
async function makeReplicaOf(host: ReplicatedHost, primary: ReplicatedHost): Promise<void> {
  const { dataDir } = host.server
  const place = `host=127.0.0.1 port=${primary.port}`
  const conninfo = `${place} user=${superuser} password=${primary.server.password}`
  await appendFile(join(dataDir, 'postgresql.auto.conf'), `primary_conninfo = '${conninfo}'\n`)
  const signal = join(dataDir, 'standby.signal')
  await writeFile(signal, '')
  await giveToServers(signal)
  await host.server.start()
}

type Switchover = {
  readonly from: ReplicatedHost
  readonly to: ReplicatedHost
  readonly hold: () => Promise<void>
  readonly release: () => Promise<void>
}

/** The procedure. Gives the load, whose clients are still at work. */
async function switchOver({ from, to, hold, release }: Switchover): Promise<Load> {
  const load = await startLoad()
  await hold()
  const held = load.acknowledged.length
  const read = load.answered.length
  await program('pg_ctl', 'stop', '-m', 'fast', '-D', from.server.dataDir)
  const checkpoint = await checkpointOf(from)
  const sql = 'SELECT pg_last_wal_receive_lsn() - $1::pg_lsn > 0'
  const received = await askServer(to.server.url(), sql, [checkpoint ?? '0/0'])
  expect(received).toEqual(['t'])
  await pause(heldMs)
  expect(load.acknowledged.length).toBe(held)
  // What a replica may answer is not held.
  expect(load.answered.length).toBeGreaterThan(read)
  await program('pg_ctl', 'promote', '-D', to.server.dataDir)
  await release()
  const perProxy = (proxy: number) =>
    load.acknowledged.slice(held).filter((each) => each.proxy === proxy).length
  await until('each proxy writes', () => perProxy(0) > 20 && perProxy(1) > 20, 20_000)
  return load
}

/** Ends the load once the old primary follows and is read from; gives what is wrong with what was kept. */
async function finish(load: Load, { from, to }: Switchover): Promise<readonly string[]> {
  await makeReplicaOf(from, to)
  const since = load.answered.length
  const isRead = () => load.answered.slice(since).some(({ port }) => port === from.port)
  await until('it is read from', isRead, 20_000)
  await load.stop()
  process.stdout.write(`${load.rate.toFixed(0)} statements/s; errors: ${load.failureText}\n`)
  expect(load.answered.filter(({ wrong }) => wrong)).toEqual([])
  const rows = await askServer(to.server.url('app'), 'SELECT id FROM ledger')
  return faultsOf(load, rows.map(Number))
}

describe('a planned switchover under load', () => {
  it(
    'by PAUSE and RESUME of the admin console is not noticed by any client',
    async () => {
      const admin = async (command: string) => {
        const all = places().map((place) =>
          withClient({ ...place, database: 'ringfence' }, (client) => client.query(command)),
        )
        await Promise.all(all)
      }
      const plan: Switchover = {
        from: hosts.a,
        to: hosts.b,
        hold: () => admin('PAUSE app s1'),
        release: () => admin('RESUME app s1'),
      }
      const load = await switchOver(plan)
      expect(await finish(load, plan)).toEqual([])
      expect(load.failures).toEqual([])
    },
    deadlineMs,
  )

  it(
    'by "ringfence shard pause" and "resume" is not noticed by any client either',
    async () => {
      const { name, password, database } = demoRole
      const path = join(dir, 'ringfence.yaml')
      const url = (port: number) => `postgres://${name}:${password}@127.0.0.1:${port}/${database}`
      const shard = { id: 's1', primary: url(hosts.a.port), replicas: [url(hosts.b.port)] }
      const text = {
        users: [{ name, password, admin: true }],
        databases: { app: { shards: [shard] } },
      }
      await writeFile(path, JSON.stringify(text))
      const flags = places().flatMap(({ port }) => ['--proxy', `127.0.0.1:${port}`])
      const ringfence = async (verb: string) => {
        const ended = await runProgram(['shard', verb, 's1', '--config', path, ...flags])
        expect(ended).toMatchObject({ code: 0, stderr: '' })
      }
      const plan: Switchover = {
        from: hosts.b,
        to: hosts.a,
        hold: () => ringfence('pause'),
        release: () => ringfence('resume'),
      }
      const load = await switchOver(plan)
      expect(await finish(load, plan)).toEqual([])
      expect(load.failures).toEqual([])
    },
    deadlineMs,
  )
})
