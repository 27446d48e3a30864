// A running proxy reads its file again: it takes new shards, the level of the log and sizes, names what
// needs a restart, and keeps all that it has when the file is wrong. What the catalog says
// meanwhile it does not take up before it can.
import { writeFile } from 'node:fs/promises'
import type { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { askServer, connected, present, refusal, until } from '../support/clients.ts'
import { type ConfigFile, createConfig } from '../cli/config-file.ts'
import { Program, runProgram } from '../cli/program.ts'

let file: ConfigFile
let proxy: Program
let port = 0
let admin: Client
const small = (text: string) => text.replace(/^ +- \{ id: s3,.*\n/m, '')

beforeAll(async () => {
  file = await createConfig(present(inject('servers')[0]), 3)
  await writeFile(file.path, small(file.text))
  const { code, stderr } = await runProgram(['init', '--config', file.path])
  if (code !== 0) throw new Error(stderr)
  proxy = new Program(['serve', '--config', file.path])
  const [line] = await proxy.printed('stderr', /^.*"msg":"ready".*$/m)
  port = JSON.parse(line).port
  admin = await client('ringfence')
})
afterAll(async () => {
  await admin.end().catch(() => undefined)
  proxy.signal('SIGKILL')
  await file.remove()
})

const client = (database = 'app') =>
  connected({ host: '127.0.0.1', port, user: 'app', password: 'pencil', database })

async function reload(text: string): Promise<readonly string[]> {
  await writeFile(file.path, text)
  const notices: string[] = []
  const listen = ({ message }: { message?: string | undefined }) => notices.push(message ?? '')
  admin.on('notice', listen)
  try {
    await admin.query('RELOAD')
    return notices
  } finally {
    admin.off('notice', listen)
  }
}

/** What the catalog has of the proxy, and the epoch in force. */
const seen = async () => {
  const [row] = await askServer(
    present(file.urls[0]),
    `SELECT epoch_seen || ' ' || epoch || ' ' || (heartbeat > clock_timestamp() - interval '3 s')
     FROM ringfence.proxy, ringfence.topology`,
  )
  return row
}

describe('RELOAD', () => {
  it('says what differs and needs a restart, and applies the level of the log', async () => {
    const text = small(file.text)
      .replace('level: info', 'level: debug')
      .replace('    sharding:', '    pool: { size: 5 }\n    sharding:')
      .replace('tenant_id', 'account_id')
    expect(await reload(text)).toEqual([
      'databases.app.pool.size has changed',
      'log.level has changed',
      'databases.app.sharding.key differs and needs a restart',
    ])
    expect(await reload(small(file.text))).toEqual([
      'databases.app.pool.size has changed',
      'log.level has changed',
    ])
    expect(await reload(`# the same\n${small(file.text)}`)).toEqual([])
  })

  it('keeps everything when the file is wrong, and says so', async () => {
    const refused = await refusal(reload(file.text.replace('tenant_id', '7')))
    expect(refused.code).toBe('F0000')
    expect(refused.message).toContain('databases.app.sharding.key')
    await proxy.printed('stderr', /the configuration cannot be reloaded; the old one stays/)
    const one = await client()
    expect((await one.query('SHOW ringfence.shards')).rows).toEqual([
      { 'ringfence.shards': 's1, s2' },
    ])
    await one.end()
  })

  it.each([
    ['another home shard', (text: string) => text.replace('id: s1,', 'id: s0,')],
    ['a shard that is gone', (text: string) => text.replace(/^ +- \{ id: s2,.*\n/m, '')],
  ])('does not take %s', async (_, change) => {
    const said = await reload(change(small(file.text)))
    expect(said).toHaveLength(1)
    expect(said[0]).toMatch(/^databases\.app\.shards.* differs and needs a restart$/)
  })

  it('goes on by the topology that it understands, and says so, until it knows the shard', async () => {
    await reload(small(file.text))
    const home = present(file.urls[0])
    const before = await seen()
    await askServer(
      home,
      `WITH s AS (INSERT INTO ringfence.shard (id, ordinal, weight, state) VALUES ('s3', 2, 1, 'joining'))
       UPDATE ringfence.topology SET epoch = epoch + 1, next_ordinal = 3 RETURNING epoch`,
    )
    await proxy.printed('stderr', /routing by an older topology/)
    const one = await client()
    await one.query('SELECT 1')
    // Several polls: it beats on, has not taken the epoch up, and says why once.
    await new Promise((resolve) => setTimeout(resolve, 3_500))
    const [now = '', ...rest] = (await seen())?.split(' ') ?? []
    expect(now).toBe(before?.split(' ')[0])
    expect(rest).toEqual([String(Number(now) + 1), 'true'])
    expect(proxy.stderr.match(/routing by an older topology/g)).toHaveLength(1)
    expect(proxy.stderr).not.toContain('connection to the catalog lost')

    expect(await reload(file.text)).toEqual(['database "app" has shard s3 now'])
    await until('the epoch is taken up', async () => {
      return ((await seen()) ?? '').startsWith(`${Number(now) + 1} `)
    })
    const { rows } = await admin.query('SHOW SHARDS')
    expect(rows.map(({ shard, vnodes }) => [shard, Number(vnodes) > 0])).toEqual([
      ['s1', true],
      ['s2', true],
      ['s3', false],
    ])
    await askServer(home, `UPDATE ringfence.shard SET state = 'active'`)
    await askServer(home, `UPDATE ringfence.topology SET epoch = epoch + 1`)
    await until('the shard belongs to it', async () => {
      const shown = await one.query('SHOW ringfence.shards')
      return shown.rows[0]['ringfence.shards'] === 's1, s2, s3'
    })
    await one.end()
  }, 60_000)

  it('a proxy whose file lacks a shard of the catalog does not start', async () => {
    await writeFile(file.path, small(file.text))
    const late = new Program(['serve', '--config', file.path])
    const { code, stderr } = await late.ended()
    expect(code).toBe(1)
    expect(stderr).toContain('shard "s3" is in the catalog but is not in the configuration. Add it')
    await writeFile(file.path, file.text)
  }, 60_000)

  it('is the same at SIGHUP', async () => {
    await writeFile(file.path, file.text.replace('level: info', 'level: debug'))
    proxy.signal('SIGHUP')
    const [said] = await proxy.printed('stderr', /"said":\["log\.level has changed"\]/)
    expect(said).toContain('has changed')
  })
})
