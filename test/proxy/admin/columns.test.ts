// What was made for PgBouncer finds what it looks for: the columns of its 1.25, by name, order and type, and whatever
// dashboards and exporters read of them.
import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync, chmodSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { connected, present, until, withClient } from '../../support/clients.ts'
import { type Stack, startStack } from '../../support/stack.ts'

/** Columns and their types as PgBouncer 1.25.2 sends them: s text, i int4, q int8, N numeric. */
const sockets =
  's:type s:user s:database s:replication s:state s:addr i:port s:local_addr i:local_port ' +
  's:connect_time s:request_time i:wait i:wait_us i:close_needed s:ptr s:link i:remote_pid s:tls ' +
  's:application_name i:prepared_statements i:id'
const buffers =
  'i:recv_pos i:pkt_pos i:pkt_remain i:send_pos i:send_remain i:pkt_avail i:send_avail'
const counts =
  'N:server_assignment_count N:xact_count N:query_count N:received N:sent N:xact_time ' +
  'N:query_time N:wait_time N:client_parse_count N:server_parse_count N:bind_count'
const bytes = counts.replace('N:received N:sent', 'N:bytes_received N:bytes_sent')
const known: Readonly<Record<string, string>> = {
  CLIENTS: sockets,
  SERVERS: sockets,
  SOCKETS: `${sockets} ${buffers}`,
  ACTIVE_SOCKETS: `${sockets} ${buffers}`,
  POOLS:
    's:database s:user i:cl_active i:cl_waiting i:cl_active_cancel_req i:cl_waiting_cancel_req ' +
    'i:sv_active i:sv_active_cancel i:sv_being_canceled i:sv_idle i:sv_used i:sv_tested i:sv_login ' +
    'i:maxwait i:maxwait_us s:pool_mode s:load_balance_hosts',
  DATABASES:
    's:name s:host i:port s:database s:force_user i:pool_size i:min_pool_size ' +
    'i:reserve_pool_size i:server_lifetime s:pool_mode s:load_balance_hosts i:max_connections ' +
    'i:current_connections i:max_client_connections i:current_client_connections i:paused i:disabled',
  USERS:
    's:name s:pool_size s:reserve_pool_size s:pool_mode i:max_user_connections ' +
    'i:current_connections i:max_user_client_connections i:current_client_connections',
  STATS: `s:database ${counts.replaceAll('N:', 'N:total_')} ${counts
    .replaceAll('N:', 'N:avg_')
    .replace('avg_received', 'avg_recv')}`,
  STATS_TOTALS: `s:database ${bytes}`,
  STATS_AVERAGES: `s:database ${bytes
    .replace('N:client_parse', 'N:avg_client_parse')
    .replace('N:server_parse', 'N:avg_server_parse')
    .replace('N:bind', 'N:avg_bind')}`,
  TOTALS: 's:name N:value',
  LISTS: 's:list i:items',
  CONFIG: 's:key s:value s:default s:changeable',
  MEM: 's:name i:size i:used i:free i:memtotal',
  STATE: 's:key s:value',
  VERSION: 's:version',
  PEERS: 'i:peer_id s:host i:port i:pool_size',
  PEER_POOLS:
    'i:peer_id i:cl_active_cancel_req i:cl_waiting_cancel_req i:sv_active_cancel i:sv_login',
  DNS_HOSTS: 's:hostname q:ttl s:addrs',
  DNS_ZONES: 's:zonename q:serial i:count',
}
const letters: Readonly<Record<number, string>> = { 25: 's', 23: 'i', 20: 'q', 1700: 'N' }

let stack: Stack
let console: Client
beforeAll(async () => {
  stack = await startStack(present(inject('servers')[0]), { shards: 1 })
  console = await connected({ ...stack.proxy, database: 'pgbouncer' })
  await withClient(stack.proxy, (client) => client.query('SELECT 1'))
})
afterAll(async () => {
  await console?.end()
  await stack?.close()
})

type Row = Readonly<Record<string, unknown>>
const show = async (what: string): Promise<readonly Row[]> =>
  (await console.query<Row>(`SHOW ${what}`)).rows

describe('under the name pgbouncer', () => {
  it.each(Object.entries(known))(
    'SHOW %s has the columns of PgBouncer 1.25',
    async (what, spec) => {
      const { fields } = await console.query(`SHOW ${what}`)
      const shown = fields.map(({ name, dataTypeID }) => `${letters[dataTypeID] ?? '?'}:${name}`)
      expect(shown.join(' ')).toBe(spec)
    },
  )

  it('our own columns stand behind those, and only under the name ringfence', async () => {
    await withClient({ ...stack.proxy, database: 'ringfence' }, async (own) => {
      for (const what of Object.keys(known)) {
        const { fields } = await own.query(`SHOW ${what}`)
        const names = present(known[what])
          .split(' ')
          .map((column) => column.slice(2))
        expect(fields.map(({ name }) => name).slice(0, names.length)).toEqual(names)
      }
    })
  })

  it('every SHOW of PgBouncer’s exporter for Prometheus gives numbers where it reads numbers', async () => {
    const read = {
      databases: 'pool_size max_connections current_connections paused disabled',
      stats_totals:
        'query_count query_time bytes_received bytes_sent wait_time xact_count xact_time ' +
        'client_parse_count server_parse_count bind_count',
      pools:
        'cl_active cl_waiting sv_active sv_idle sv_used sv_tested sv_login maxwait ' +
        'cl_active_cancel_req cl_waiting_cancel_req sv_active_cancel sv_being_canceled',
    }
    for (const [what, columns] of Object.entries(read)) {
      const rows = await show(`${what};`)
      expect(rows.length).toBeGreaterThan(0)
      for (const row of rows) {
        for (const column of columns.split(' '))
          expect(Number(row[column])).toBeGreaterThanOrEqual(0)
      }
    }
    for (const { items } of await show('LISTS;')) expect(Number(items)).toBeGreaterThanOrEqual(0)
    const settings = new Map((await show('CONFIG;')).map(({ key, value }) => [key, Number(value)]))
    expect(settings.get('max_client_conn')).toBeGreaterThan(0)
    expect(settings.get('max_user_connections')).toBeGreaterThanOrEqual(0)
  })

  it('Datadog’s integration finds its metrics, their tags, and a version', async () => {
    const read = {
      STATS:
        'total_xact_count total_query_count total_received total_sent total_query_time ' +
        'total_xact_time total_wait_time avg_xact_count avg_recv avg_query_count avg_wait_time ' +
        'avg_sent avg_xact_time avg_query_time',
      POOLS: 'cl_active cl_waiting sv_active sv_idle sv_used maxwait maxwait_us',
      DATABASES: 'pool_size max_connections current_connections',
    }
    for (const [what, columns] of Object.entries(read)) {
      for (const row of await show(what)) {
        for (const column of columns.split(' '))
          expect(Number(row[column])).toBeGreaterThanOrEqual(0)
        expect(String(row['database'] ?? row['name'])).not.toBe('')
      }
    }
    const [version] = await show('VERSION')
    expect(String(version?.['version'])).toMatch(/\d+\.\d+\.\d+/)
  })
})

const pgbouncer = '/usr/sbin/pgbouncer'
/** Called otherwise since 1.24. */
const renamed = new Map([['reserve_pool', 'reserve_pool_size']])

describe.runIf(existsSync(pgbouncer))('a PgBouncer of this machine', () => {
  let directory = ''
  let stop = () => {}
  let beside: Client
  beforeAll(async () => {
    const port = await freePort()
    directory = mkdtempSync(join(tmpdir(), 'pgbouncer-'))
    writeFileSync(
      join(directory, 'pgbouncer.ini'),
      `[databases]\ndb = host=127.0.0.1 port=1\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = ${port}
auth_type = any\nadmin_users = boss\nunix_socket_dir =\nlogfile = ${directory}/log\n`,
    )
    chmodSync(directory, 0o777)
    const asRoot = process.getuid?.() === 0
    const child = spawn(pgbouncer, ['-q', join(directory, 'pgbouncer.ini')], {
      stdio: 'ignore',
      ...(asRoot ? { uid: 65_534, gid: 65_534 } : {}),
    })
    stop = () => child.kill('SIGKILL')
    const place = { host: '127.0.0.1', port, user: 'boss', password: '', database: 'pgbouncer' }
    await until('it listens', async () => {
      const there = await connected(place).catch(() => null)
      if (there !== null) beside = there
      return there !== null
    })
  })
  afterAll(async () => {
    await beside?.end().catch(() => undefined)
    stop()
    rmSync(directory, { recursive: true, force: true })
  })

  const shows = Object.keys(known).filter(
    (what) => !['PEERS', 'PEER_POOLS', 'STATE'].includes(what),
  )
  it.each(shows)(
    'has no column of SHOW %s that is not shown here, in the same order',
    async (what) => {
      const version = execFileSync(pgbouncer, ['--version']).toString()
      const theirs = (await beside.query(`SHOW ${what}`)).fields.map(
        ({ name }) => renamed.get(name) ?? name,
      )
      const ours = (await console.query(`SHOW ${what}`)).fields.map(({ name }) => name)
      expect([version, ...ours.filter((name) => theirs.includes(name))]).toEqual([
        version,
        ...theirs,
      ])
    },
  )
})

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const address = server.address()
      const port = typeof address === 'object' && address !== null ? address.port : 0
      server.close(() => resolve(port))
    })
  })
}
