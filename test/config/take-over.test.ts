// What a reload takes over: a table of all settings. Each one that says `reload` reaches the options of the proxy when it
// changes, each one that says `restart` waits.
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { proxyOptions } from '../../cli/proxy-options.ts'
import { parseConfig } from '../../config/document.ts'
import { loadValue } from '../../config/load.ts'
import { pathText } from '../../config/problems.ts'
import { given, isMapping, type Path } from '../../config/setting.ts'
import { fileSchema } from '../../config/settings.ts'
import { takeOver } from '../../config/take-over.ts'
import { createLog } from '../../core/log.ts'

const env = { APP_PASSWORD: 'a', SHARD_PASSWORD: 'b', TOKEN_KEY: 'k'.repeat(32) }
const text = readFileSync(new URL('every-setting.yaml', import.meta.url), 'utf8')
  // They have no meaning yet.
  .replace(/, max_gathered_rows: \w+, max_gathered_bytes: \w+/, '')
const whole = parseConfig(text, env).value
const log = createLog('silent')

/** Settings that are not of the proxy itself: what they are for reads them from the configuration. */
const notOptions = new Set(['watch', 'drain_timeout', 'log.level'])
const moverOnly = /\.mover_user\./
/** No other value can be had in this file, or it has no meaning yet. */
const fixed = new Map([
  ['users[].verifier', 'the user has a password'],
  ['users[].password_file', 'there is no such file'],
  ['auth.hba_file', 'there are rules'],
  ['auth.file', 'there is no such file'],
  ['databases.app.sharding.allow_key_update', 'it has one value that works'],
  ['databases.app.shards[].id', 'ids are what shards are known by'],
])

const candidates: readonly unknown[] = JSON.parse(`[
  true, false, 1, 2, 3, 7, 11, 64, 100, 0, 0.5, null, "50ms", "7s", "77s", "3m", "123MiB", "other",
  "10.9.0.0/16", "SELECT 2", "02:00-04:00", "postgres://10.9.9.9:5432/app", "redis://10.9.9.9:6379",
  "http://10.9.9.9:8008", "0123456789012345678901234567890123456789", "0700", "10.9.9.9",
  ["other"], ["app"], ["10.9.9.9"]
]`)

const shown = (path: Path) => pathText(path).replaceAll(/\[\d+\]/g, '[]')
/** What the proxy would be told. */
const optionsOf = (value: unknown) => {
  const loaded = loadValue(value, '/etc/f.yaml')
  if (!loaded.ok) return null
  const { config } = loaded
  const { clock: _clock, log: _log, ...options } = proxyOptions(config, 'test', log)
  return JSON.stringify(options, (_key, each: unknown) =>
    each instanceof Set || each instanceof Map ? [...each] : each,
  )
}

/** A copy of `value` with another one at `path`. */
function changed(value: unknown, [segment, ...rest]: Path, to: unknown): unknown {
  if (segment === undefined) return to
  if (Array.isArray(value)) {
    return value.map((each: unknown, at) => (at === segment ? changed(each, rest, to) : each))
  }
  if (!isMapping(value)) return value
  return { ...value, [segment]: changed(value[segment], rest, to) }
}

const choices = (values: string) => [...values.matchAll(/`([^`]+)`/g)].map(([, word]) => word)

/** The first other value that the setting can have in this file. */
function another(setting: ReturnType<typeof given>[number]): unknown {
  const { path, about, schema, value } = setting
  const meaning = (each: unknown) => JSON.stringify(z.safeParse(schema, each).data)
  return [...choices(about.values), ...candidates].find((each) => {
    if (!z.safeParse(schema, each).success || meaning(each) === meaning(value)) return false
    if (about.later !== null && !about.later.works.includes(each)) return false
    return loadValue(changed(whole, path, each), '/etc/f.yaml').ok
  })
}

const settings = given(fileSchema, whole).filter(({ path }) => {
  return !fixed.has(shown(path)) && !moverOnly.test(shown(path))
})

describe('a reload of a file in which one setting differs', () => {
  const before = optionsOf(whole)

  it('has a file to start from, and settings of every kind', () => {
    expect(before).not.toBe(null)
    expect(settings.length).toBeGreaterThan(100)
  })

  it.each(settings.map((setting) => [pathText(setting.path), setting] as const))(
    '%s',
    (name, setting) => {
      const value = another(setting)
      expect(value, `no other value for ${name}`).not.toBe(undefined)
      const { path, about } = setting
      const {
        value: mixed,
        applied,
        waiting,
        newShards,
      } = takeOver(whole, changed(whole, path, value))
      expect(newShards.size).toBe(0)
      const reload = about.applies === 'reload'
      expect([applied.length, waiting.length]).toEqual(reload ? [1, 0] : [0, 1])
      expect(loadValue(mixed, '/etc/f.yaml').ok).toBe(true)
      expect(optionsOf(mixed) === before).toBe(!reload || notOptions.has(name))
    },
  )
})

describe('a reload', () => {
  const databases = isMapping(whole) && isMapping(whole['databases']) ? whole['databases'] : {}
  const withDatabases = (value: unknown) => (isMapping(whole) ? { ...whole, databases: value } : {})

  it('takes databases up and gives them up', () => {
    const { app } = databases
    const other = { shards: [{ id: 's1', primary: 'postgres://10.9.9.9:5432/other' }] }
    const two = withDatabases({ app, other })
    const up = takeOver(whole, two)
    expect(up).toMatchObject({ applied: [['databases', 'other']], waiting: [] })
    expect(loadValue(up.value, 'f.yaml')).toMatchObject({ ok: true })
    const down = takeOver(two, whole)
    expect(down).toMatchObject({ applied: [['databases', 'other']], waiting: [] })
    expect(optionsOf(down.value)).toBe(optionsOf(whole))
  })

  it('finds nothing in what is only written otherwise', () => {
    const again = parseConfig(JSON.stringify(whole), {}).value
    expect(takeOver(whole, again)).toMatchObject({ applied: [], waiting: [] })
    const without = takeOver(
      { databases: {} },
      { databases: {}, log: { level: 'info' }, workers: '1' },
    )
    expect(without).toMatchObject({ applied: [], waiting: [] })
  })
})
