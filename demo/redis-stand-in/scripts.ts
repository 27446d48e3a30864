// The scripts of the token store (catalog/token-store-scripts.ts), known by their SHA1, done in TypeScript with
// the same result. There is no Lua here: any other script is refused. Whoever changes one of them there changes
// it here; the tests run both on the same arguments.
import { createHash } from 'node:crypto'
import { type Keyspace, RedisError, wallClockMs } from './keyspace.ts'
import type { Reply } from './resp.ts'

/** What a script is run with. */
export type ScriptCall = {
  readonly keys: readonly string[]
  readonly args: readonly string[]
  readonly keyspace: Keyspace
  readonly runId: string
}

type Entry = { readonly deadlineMs: number; readonly incarnation: string }

const known: ReadonlyMap<string, (call: ScriptCall) => Reply> = new Map([
  ['48895ab40e695142c06f3d7b8de4bbe407c6501a', store],
  ['327f5be06f2f112fe36e8ca73154074951e2b206', beat],
  ['8330cb2f653287758113a4c6ab49c147971c431f', leave],
])

/** SHA1 of a script's text, as Redis names it. */
export function scriptSha(text: string): string {
  return createHash('sha1').update(text, 'latin1').digest('hex')
}

/** True for the scripts that can be run. */
export function isKnownScript(sha: string): boolean {
  return known.has(sha)
}

/** @throws RedisError also for arguments that the script was not made for. */
export function runScript(sha: string, call: ScriptCall): Reply {
  const run = known.get(sha)
  if (run === undefined) throw new RedisError('NOSCRIPT No matching script. Please use EVAL.')
  return run(call)
}

function store({ keys, args, keyspace }: ScriptCall): Reply {
  const key = word(keys, 0)
  const ttlMs = number(args, 0)
  for (let at = 1; at < args.length; at += 2) {
    const shard = word(args, at)
    const incoming = word(args, at + 1)
    const before = keyspace.hash(key)?.get(shard)
    if (before === undefined || isLater(before, incoming)) keyspace.setField(key, shard, incoming)
  }
  if (keyspace.hash(key)?.has('#born') !== true) {
    keyspace.setField(key, '#born', String(Math.floor(wallClockMs())))
  }
  keyspace.expire(key, wallClockMs() + ttlMs)
  return 1
}

function isLater(before: string, incoming: string): boolean {
  const [system, timeline, lsn] = position(before)
  const [newSystem, newTimeline, newLsn] = position(incoming)
  if (system !== newSystem) return true
  return timeline === newTimeline ? newLsn > lsn : Number(newTimeline) > Number(timeline)
}

function position(text: string): readonly [string, string, string] {
  const [, system, timeline, lsn] = /^(\d+):(\d+):([\da-fA-F]+)$/.exec(text) ?? []
  if (system === undefined || timeline === undefined || lsn === undefined) throw malformed()
  return [system, timeline, lsn]
}

/** The registry as the script reads it, and the ways in which it changes it. */
class Registry {
  readonly #keyspace: Keyspace
  readonly #key: string

  constructor(keyspace: Keyspace, key: string) {
    this.#keyspace = keyspace
    this.#key = key
  }

  head(field: string): string | undefined {
    return this.#keyspace.hash(this.#key)?.get(field)
  }

  setHead(field: string, value: string): void {
    this.#keyspace.setField(this.#key, field, value)
  }

  entry(proxy: string): Entry | undefined {
    const text = this.head(`p:${proxy}`)
    return text === undefined ? undefined : parseEntry(text)
  }

  setEntry(proxy: string, { deadlineMs, incarnation }: Entry): void {
    this.setHead(`p:${proxy}`, `${deadlineMs} ${incarnation}`)
  }

  proxies(): readonly string[] {
    const fields = [...(this.#keyspace.hash(this.#key)?.keys() ?? [])]
    return fields.filter((field) => field.startsWith('p:')).map((field) => field.slice(2))
  }

  forget(proxy: string): void {
    this.#keyspace.deleteField(this.#key, `p:${proxy}`)
  }

  fields(): Reply {
    return [...(this.#keyspace.hash(this.#key) ?? [])].flat()
  }
}

function beat({ keys, args, keyspace, runId }: ScriptCall): Reply {
  const registry = new Registry(keyspace, word(keys, 0))
  const [own, incarnation, believed] = [word(args, 0), word(args, 1), word(args, 3)]
  const [deadlineMs, leaseMs, forgetMs] = [number(args, 2), number(args, 5), number(args, 6)]
  const micros = Math.floor(wallClockMs() * 1000)
  const nowMs = Math.floor(micros / 1000)
  const runs = `${runId}${word(args, 4)}`
  const before = registry.entry(own)
  const endMs = before?.deadlineMs ?? nowMs
  const takeover = before !== undefined && before.incarnation !== incarnation
  let fresh = false
  let settled = true
  if (word(args, 7) === '1' || (takeover && endMs <= nowMs)) {
    fresh = true
    settled = endMs + leaseMs <= nowMs
  }
  const removed = forgetExpired(registry, own, nowMs - forgetMs)
  if (removed.length > 0) fresh = true
  if (isLost(registry, runs, nowMs)) {
    fresh = true
    settled = false
  }
  if (fresh) {
    const generation = `${Math.floor(micros / 1e6)}.${micros % 1e6}.${incarnation.slice(0, 8)}`
    registry.setHead('#generation', generation)
    registry.setHead('#born', String(nowMs))
    if (!settled) registry.setHead('#era', generation)
    endLeases(registry, nowMs)
  }
  const generation = registry.head('#generation') ?? ''
  if (word(args, 8) !== registry.head('#era')) {
    for (let at = 9; at < args.length; at += 2) {
      const other = { deadlineMs: nowMs, incarnation: word(args, at + 1) }
      if (registry.entry(word(args, at)) === undefined) registry.setEntry(word(args, at), other)
    }
  }
  const renewable = deadlineMs > nowMs && deadlineMs <= nowMs + leaseMs + 50
  const accepted = believed === generation && renewable
  if (accepted) registry.setEntry(own, { deadlineMs, incarnation })
  else if (before === undefined || takeover) {
    registry.setEntry(own, { deadlineMs: fresh ? nowMs : endMs, incarnation })
  }
  registry.setHead('#runs', runs)
  registry.setHead('#clock', String(nowMs))
  const registered = before === undefined ? '0' : takeover ? '2' : '1'
  const [era, born] = [registry.head('#era') ?? '', registry.head('#born') ?? '']
  const verdict = [accepted ? '1' : '0', registered]
  return [String(nowMs), generation, era, born, ...verdict, removed, registry.fields()]
}

function forgetExpired(registry: Registry, own: string, endMs: number): readonly string[] {
  const expired = registry.proxies().filter((proxy) => {
    const entry = registry.entry(proxy)
    return proxy !== own && entry !== undefined && entry.deadlineMs < endMs
  })
  for (const proxy of expired) registry.forget(proxy)
  return expired
}

function isLost(registry: Registry, runs: string, nowMs: number): boolean {
  if (registry.head('#generation') === undefined || registry.head('#runs') !== runs) return true
  return nowMs + 50 < Number(registry.head('#clock') ?? '0')
}

function endLeases(registry: Registry, nowMs: number): void {
  for (const proxy of registry.proxies()) {
    const entry = registry.entry(proxy)
    if (entry === undefined || entry.deadlineMs <= nowMs) continue
    registry.setEntry(proxy, { deadlineMs: nowMs, incarnation: entry.incarnation })
  }
}

function leave({ keys, args, keyspace }: ScriptCall): Reply {
  const registry = new Registry(keyspace, word(keys, 0))
  const [own, incarnation] = [word(args, 0), word(args, 1)]
  if (registry.entry(own)?.incarnation !== incarnation) return 0
  registry.forget(own)
  return 1
}

function parseEntry(text: string): Entry {
  const [, deadline, incarnation] = /^(\d+) (.*)$/s.exec(text) ?? []
  if (deadline === undefined || incarnation === undefined) throw malformed()
  return { deadlineMs: Number(deadline), incarnation }
}

function word(list: readonly string[], at: number): string {
  const found = list[at]
  if (found === undefined) throw malformed()
  return found
}

function number(list: readonly string[], at: number): number {
  const text = word(list, at)
  if (!/^\d{1,15}$/.test(text)) throw malformed()
  return Number(text)
}

function malformed(): RedisError {
  return new RedisError('ERR the script was not made for these arguments')
}
