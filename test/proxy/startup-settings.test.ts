// What clients ask for in their startup packets: read as PostgreSQL reads it, harmless to whoever comes after them.
import { afterEach, describe, expect, inject, it } from 'vitest'
import { SettingsProfile } from '../../pool/settings-profile.ts'
import { readStartup } from '../../proxy/startup-parameters.ts'
import {
  askServer,
  errorFields,
  present,
  rawClient,
  rowsOf,
  untilReady,
} from '../support/clients.ts'
import { textBytes } from '../support/frontend-bytes.ts'
import type { Endpoint } from '../support/raw-connection.ts'
import { type Stack, startStack } from '../support/stack.ts'

type Parameters = readonly (readonly [string, string])[]

let stack: Stack | undefined
afterEach(async () => {
  await stack?.close()
  stack = undefined
})

/** Answers to `statements` after a login with these parameters: the rows, or what was refused. */
async function said(place: Endpoint, parameters: Parameters, ...statements: readonly string[]) {
  const { connection, greeting } = await rawClient(place, { parameters })
  const answers: unknown[] = []
  const refused = errorFields(greeting)
  if (refused['C'] !== undefined) answers.push(refused['C'])
  for (const statement of refused['C'] === undefined ? statements : []) {
    connection.send(textBytes('Q', statement))
    const answer = await untilReady(connection)
    answers.push(errorFields(answer)['C'] ?? rowsOf(answer))
  }
  connection.destroy()
  return answers
}

const read = (parameters: Parameters) => readStartup(new Map([['user', 'anna'], ...parameters]), 0)

describe.each(inject('servers'))('PostgreSQL $version, a startup packet', (servers) => {
  it.each<[string, Parameters, string]>([
    ['transaction_read_only', [['transaction_read_only', 'on']], 'CREATE TEMP TABLE a (b int)'],
    [
      'transaction_isolation',
      [['options', '-c transaction_isolation=serializable']],
      'SHOW transaction_isolation',
    ],
    ['replication=f', [['replication', 'f']], 'SELECT 1'],
    ['replication=of', [['replication', 'of']], 'SELECT 1'],
    ['replication=o', [['replication', 'o']], ''],
    ['replication=', [['replication', '']], ''],
    ['replication=Database', [['replication', 'Database']], ''],
    ['an empty database', [['database', '']], 'SELECT session_user'],
    [
      'a name in several ways of writing',
      [
        ['TimeZone', 'Asia/Tokyo'],
        ['timezone', 'UTC'],
        ['TimeZone', 'Europe/Rome'],
      ],
      'SHOW timezone',
    ],
  ])('with %s means what it means to PostgreSQL', async (_what, parameters, statement) => {
    const running = await startStack(servers, { shards: 1, pool: { size: 1 } })
    stack = running
    const { user } = running.direct
    const [database] = running.options.databases
    // So that there is one of the user's name.
    await running.instance.configure({
      ...running.options,
      databases: [present(database), { ...present(database), name: user }],
    })
    const direct = await said(running.direct, parameters, statement)
    expect(await said(running.proxy, parameters, statement)).toEqual(direct)
    // Whoever comes next has the same server.
    expect(await said(running.proxy, [['work_mem', '2MB']], 'SHOW work_mem')).toEqual([[['2MB']]])
  })

  it('is answered with the defaults that servers have by now', async () => {
    const running = await startStack(servers, { shards: 1, pool: { size: 1 } })
    stack = running
    const told = async (name: string, options = '') => {
      const { connection, greeting } = await rawClient(running.proxy, {
        parameters: [['options', options]],
      })
      connection.destroy()
      const texts = greeting.map(({ bytes }) => bytes.subarray(5).toString().split('\0'))
      return texts.findLast(([first]) => first === name)?.[1]
    }
    expect(await told('DateStyle')).toBe('ISO, MDY')
    expect(await told('DateStyle', '-c datestyle=german')).toBe('German, DMY')
    const [url = ''] = running.shardUrls
    const name = new URL(url).pathname.slice(1)
    await askServer(url, `ALTER DATABASE "${name}" SET datestyle = 'SQL, DMY'`)
    await askServer(url, `ALTER DATABASE "${name}" SET timezone = 'Asia/Tokyo'`)
    const [database] = running.instance.databases.values()
    for (const server of present(database).pools.flatMap(({ connections }) => [...connections])) {
      server.close('its lifetime is over')
    }
    expect(await said(running.proxy, [], 'SHOW datestyle')).toEqual([[['SQL, DMY']]])
    expect(await told('DateStyle')).toBe('SQL, DMY')
    expect(await told('TimeZone')).toBe('Asia/Tokyo')
    expect(await told('DateStyle', '-c datestyle=german')).toBe('German, DMY')
    expect(await told('TimeZone', '-c datestyle=german')).toBe('Asia/Tokyo')
  })

  it('with pg_temp in its search_path leaves no tables to others', async () => {
    const running = await startStack(servers, { shards: 1, pool: { size: 1 } })
    stack = running
    const parameters: Parameters = [['search_path', 'pg_temp, public']]
    const { connection } = await rawClient(running.proxy, { parameters })
    connection.send(textBytes('Q', 'CREATE TABLE secret AS SELECT 1 AS a'))
    expect(errorFields(await untilReady(connection))).toEqual({})
    connection.destroy()
    expect(await said(running.proxy, [], 'SELECT * FROM secret')).toEqual(['42P01'])
  })
})

describe('a startup packet', () => {
  it('costs no more time for a value that is made for it', () => {
    const blanks = ' '.repeat(9_000)
    for (const name of ['timezone', 'client_encoding', 'datestyle', 'search_path']) {
      for (const end of ['"', ';', "'", ', false) x']) {
        const { settings } = read([[name, `${blanks}${end}`]])
        expect(settings.get(name)).toContain(blanks)
      }
    }
  })

  it('has the settings that its parameters make one after the other', () => {
    const parameters: Parameters = [
      ['role', 'a'],
      ['datestyle', 'iso'],
      ['DateStyle', 'dmy'],
      ['session_authorization', 'b'],
      ['ringfence.target', 'primary'],
    ]
    const set = (name: string, value: string) =>
      [name, `SELECT pg_catalog.set_config('${name}', '${value}', false)`] as const
    const { settings } = read(parameters)
    const stepwise = SettingsProfile.empty
      .with(...set('role', 'a'))
      .with(...set('datestyle', 'iso'))
      .with(...set('datestyle', 'dmy'))
      .with(...set('session_authorization', 'b'))
    expect(settings.equals(stepwise)).toBe(true)
    expect(settings.get('role')).toBeUndefined()
    expect(settings.own('ringfence.target')).toBe('primary')
  })

  it('names the application by its last word on it', () => {
    const { applicationName } = read([
      ['application_name', 'first'],
      ['Application_Name', 'second'],
    ])
    expect(applicationName).toBe('second')
  })

  it('may not set the seed of random(), which no server gives back', () => {
    expect(() => read([['seed', '0.5']])).toThrow(expect.objectContaining({ sqlstate: '0A000' }))
  })
})
