// The admin console speaks both protocols: what drivers send of their own accord, prepared commands with parameters, several
// commands in a string, results in parts and in binary.
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { promisify } from 'node:util'
import type { Client, FieldDef } from 'pg'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import {
  codesOf,
  connected,
  errorFields,
  present,
  rawClient,
  refusal,
  rowsOf,
  untilReady,
  withClient,
} from '../../support/clients.ts'
import { frontendMessage } from '../../support/frontend-bytes.ts'
import { type Stack, startStack } from '../../support/stack.ts'

let stack: Stack
let client: Client
beforeAll(async () => {
  stack = await startStack(present(inject('servers')[0]), { shards: 2 })
  client = await connected({ ...stack.proxy, database: 'ringfence' })
})
afterAll(async () => {
  await client?.end()
  await stack?.close()
})

const text = (value: string) => Buffer.from(`${value}\0`)
const i16 = (value: number) => Buffer.from([value >> 8, value & 0xff])
const i32 = (value: number) => {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}
const parse = (sql: string, name = '') =>
  frontendMessage('P', Buffer.concat([text(name), text(sql), i16(0)]))
const bind = (format: number, name = '') =>
  frontendMessage('B', Buffer.concat([text(''), text(name), i16(0), i16(0), i16(1), i16(format)]))
const describePortal = frontendMessage('D', Buffer.concat([Buffer.from('P'), text('')]))
const execute = (maxRows: number) => frontendMessage('E', Buffer.concat([text(''), i32(maxRows)]))
const sync = frontendMessage('S', Buffer.alloc(0))

/** Columns of a DataRow as they came. */
function cellsOf({ bytes }: { readonly bytes: Buffer }): (Buffer | null)[] {
  let at = 7
  return Array.from({ length: bytes.readInt16BE(5) }, () => {
    const length = bytes.readInt32BE(at)
    at += 4 + Math.max(length, 0)
    return length < 0 ? null : bytes.subarray(at - length, at)
  })
}

/** An integer in numeric's binary form: digits of base 10,000 and the weight of the first. */
function numericOf(bytes: Buffer): number {
  const weight = bytes.readInt16BE(2)
  const digits = Array.from({ length: bytes.readInt16BE(0) }, (_, at) =>
    bytes.readInt16BE(8 + 2 * at),
  )
  return digits.reduce((sum, digit, at) => sum + digit * 10_000 ** (weight - at), 0)
}

describe('a prepared command', () => {
  it('takes values where values stand', async () => {
    const { database } = stack.proxy
    expect((await client.query('PAUSE $1 $2', [database, 's1'])).command).toBe('PAUSE')
    const paused = async () =>
      (await client.query<{ paused: string }>('SHOW SHARDS')).rows.map((row) => row.paused)
    expect(await paused()).toEqual(['yes', 'no'])
    expect(
      (await client.query({ name: 'go', text: 'RESUME $1', values: [database] })).rows,
    ).toEqual([])
    expect(await paused()).toEqual(['no', 'no'])
    expect((await refusal(client.query('RESUME $1', ['nothing']))).code).toBe('3D000')
    expect((await refusal(client.query('RESUME $1', [null]))).code).toBe('22023')
    expect((await refusal(client.query('SHOW $1', ['POOLS']))).code).toBe('42601')
  })

  it('ends a client by its number, bound as text or as an integer', async () => {
    await withClient(stack.proxy, async (victim) => {
      const { rows } = await client.query<{ id: number }>('SHOW CLIENTS')
      const [{ id }] = [present(rows[0])]
      const gone = new Promise((resolve) => victim.once('error', resolve))
      await client.query('KILL_CLIENT $1', [id])
      expect(await gone).toMatchObject({ code: '57P01', severity: 'FATAL' })
      expect((await refusal(client.query('KILL_CLIENT $1', [id]))).code).toBe('3D000')
    })
  })

  it('is described before it has run, with the same columns', async () => {
    const prepared = { name: 'shards', text: 'SHOW SHARDS' }
    const first = await client.query(prepared)
    const again = await client.query(prepared)
    const plain = await client.query('SHOW SHARDS')
    const names = ({ fields }: { fields: FieldDef[] }) => fields.map(({ name }) => name)
    expect(names(first)).toEqual(names(plain))
    expect(again.rows).toEqual(plain.rows)
  })

  it('gives its rows in parts, and in binary', async () => {
    const { connection: raw } = await rawClient({ ...stack.proxy, database: 'ringfence' })
    raw.send(
      Buffer.concat([parse('SHOW SHARDS'), bind(0), describePortal, execute(1), execute(0), sync]),
    )
    const parts = await untilReady(raw)
    expect(codesOf(parts)).toBe('12TDsDCZ')
    expect(rowsOf(parts).map((row) => row[1])).toEqual(['s1', 's2'])
    raw.send(Buffer.concat([parse('SHOW SHARDS'), bind(1), execute(0), sync]))
    const { rows: shards } = await client.query<{ vnodes: number; port: number }>('SHOW SHARDS')
    const integers = (await untilReady(raw)).filter(({ code }) => code === 'D').map(cellsOf)
    expect(integers.map((cells) => cells[3]?.readInt32BE())).toEqual(shards.map(({ port }) => port))
    expect(integers.map((cells) => cells[4]?.readInt32BE())).toEqual(
      shards.map(({ vnodes }) => vnodes),
    )
    raw.send(Buffer.concat([parse('SHOW STATS_TOTALS'), bind(1), execute(0), sync]))
    const { rows } = await client.query<Record<string, string>>('SHOW STATS_TOTALS')
    const [row] = (await untilReady(raw)).filter(({ code }) => code === 'D').map(cellsOf)
    expect(Object.values(present(rows[0])).slice(1).map(Number)).toEqual(
      row?.slice(1).map((cell) => (cell === null ? null : numericOf(cell))),
    )
    raw.destroy()
  })

  it('skips what follows a mistake up to Sync, and goes on', async () => {
    const { connection: raw } = await rawClient({ ...stack.proxy, database: 'ringfence' })
    raw.send(Buffer.concat([parse('NONSENSE'), bind(0), execute(0), sync]))
    const failed = await untilReady(raw)
    expect(codesOf(failed)).toBe('EZ')
    expect(errorFields(failed)).toMatchObject({ C: '42601' })
    raw.send(Buffer.concat([parse('SHOW VERSION; SHOW VERSION'), sync]))
    expect(errorFields(await untilReady(raw))).toMatchObject({ C: '42601' })
    raw.send(Buffer.concat([parse(''), bind(0), describePortal, execute(0), sync]))
    expect(codesOf(await untilReady(raw))).toBe('12nIZ')
    raw.destroy()
  })
})

describe('a simple string', () => {
  it('may hold several commands, of which an error is the last', async () => {
    const results = await client.query('SHOW VERSION; SHOW STATE -- both\n;')
    expect(Array.isArray(results) ? results.map(({ rows }) => rows.length) : null).toEqual([1, 3])
    const { connection: raw } = await rawClient({ ...stack.proxy, database: 'ringfence' })
    raw.send(frontendMessage('Q', text('SHOW VERSION; NOTHING; SHOW VERSION')))
    expect(codesOf(await untilReady(raw))).toBe('TDCEZ')
    raw.send(frontendMessage('Q', text('/* nothing */ ;;')))
    expect(codesOf(await untilReady(raw))).toBe('IZ')
    raw.destroy()
  })

  it('hostile bytes end in an error, and nothing else', async () => {
    const { connection: raw } = await rawClient({ ...stack.proxy, database: 'ringfence' })
    for (const sql of [
      '\u0001',
      "'",
      '"',
      '$',
      '$0',
      '((((',
      'SHOW "',
      `${'a'.repeat(100_000)} b`,
    ]) {
      raw.send(frontendMessage('Q', text(sql)))
      expect(errorFields(await untilReady(raw))).toMatchObject({ S: 'ERROR' })
    }
    raw.destroy()
  })
})

const psql = '/usr/bin/psql'

describe.runIf(existsSync(psql))('psql', () => {
  const run = async (...args: string[]) => {
    const { stdout } = await promisify(execFile)(psql, ['-X', '-q', ...args], {
      env: {
        ...process.env,
        PGHOST: stack.proxy.host,
        PGPORT: String(stack.proxy.port),
        PGUSER: stack.proxy.user,
        PGPASSWORD: stack.proxy.password,
        PGDATABASE: 'pgbouncer',
      },
    })
    return stdout
  }

  it('shows tables, one row per line or one column per line', async () => {
    expect(await run('-c', 'SHOW LISTS')).toMatch(/^ *databases *\| *1$/m)
    expect(await run('-x', '-c', 'SHOW DATABASES')).toMatch(/^pool_mode +\| transaction$/m)
    expect(await run('-A', '-t', '-c', 'SHOW VERSION;')).toMatch(
      /^PgBouncer 1\.25\.0 \(Ringfence test\)$/m,
    )
  })
})
