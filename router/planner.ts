// A statement's route and its values → plan at the topology in force. On the way of every
// statement: no parsing, no walking, one reading of the key and one lookup.
import { unreachable } from '../core/assert.ts'
import { PgError, pgError } from '../core/errors.ts'
import type { ShardId, Vnode } from '../core/ids.ts'
import { type KeyValue, vnodeBitsOf } from './key-hash.ts'
import { type Bindings, isZero, keysOf, type Keys, misfitOf, type Scalar } from './key-source.ts'
import { utf8Of } from './literals.ts'
import type { Plan, SessionCommand } from './plan.ts'
import { ringfenceCalls } from './ringfence-settings.ts'
import type { Cover, Route, Shape } from './route.ts'
import type { ShardingRules } from './schema.ts'
import { mayBeCurrentTime } from './time-value.ts'
import { homeShard, moveOfKey, placeOfKey, type Topology, type TopologyMove } from './topology.ts'

/**
 * Plan of a shape with these values. Refusals are plans too: nothing is thrown for a client's
 * mistake.
 */
export function planOf(
  shape: Shape,
  bindings: Bindings,
  topology: Topology,
  rules: ShardingRules | null,
): Plan {
  const { route } = shape
  switch (route.kind) {
    case 'key':
      return rules === null
        ? onHome(shape, topology)
        : planKey(shape, route, bindings, { topology, rules })
    case 'home':
      return onHome(shape, topology)
    case 'any':
    case 'reference':
      return { ...onHome(shape, topology), anyShard: true }
    case 'scatter':
      // The first shard of a cluster, before another one joins.
      if (topology.shards.length === 1) return onHome(shape, topology)
      return scatter(topology.shards, route.offset, bindings, { topology, rules })
    case 'everywhere':
      return planEverywhere(route, bindings, topology)
    case 'copyIn':
      return { kind: 'copyIn', copy: route.copy }
    case 'session':
      return sessionPlan(route.command, bindings)
    case 'refuse':
      if (route.alone === true && topology.shards.length === 1) return onHome(shape, topology)
      return { kind: 'refuse', error: route.error, unresolved: route.unresolved }
    default:
      return unreachable(route)
  }
}

/** set_config($1, …): only the parameter tells whether it names one of our settings. */
function sessionPlan(command: SessionCommand, { params }: Bindings): Plan {
  if (command.kind !== 'setConfig' || params === null) return { kind: 'session', command }
  const named = ringfenceCalls(command.calls, ({ name }) => {
    if ('constant' in name) return name.constant
    const value = params.values[name.param - 1]
    return value ? Buffer.from(value).toString() : null
  })
  if (named === undefined) return { kind: 'session', command }
  return named.kind === 'session' ? named : { kind: 'refuse', error: named.error }
}

type SinglePlan = Extract<Plan, { kind: 'single' }>
type KeyRoute = Extract<Route, { kind: 'key' }>
type Place = { readonly topology: Topology; readonly rules: ShardingRules }

const noMoves: readonly TopologyMove[] = []

function onHome(shape: Shape, topology: Topology): SinglePlan {
  const shard = homeShard(topology)
  const writes = !shape.isReadOnly
  return { kind: 'single', shard, vnode: null, writes, anyShard: false, moves: noMoves }
}

function planKey(shape: Shape, route: KeyRoute, bindings: Bindings, place: Place): Plan {
  const { covers, tables } = route
  let several: ShardId[] | undefined
  let refusal: PgError | undefined
  const partial: { readonly cover: Cover; readonly keys: readonly KeyValue[] }[] = []
  for (const cover of covers) {
    const keys = keysOf(cover.source, bindings)
    if (keys instanceof PgError) {
      refusal ??= keys
      continue
    }
    const misfit = insertedMisfit(route, keys)
    if (misfit !== null) return { kind: 'refuse', error: misfit }
    if (cover.tables !== tables) {
      partial.push({ cover, keys: keys.values })
      continue
    }
    const owners = ownersOf(keys.values, place)
    if (owners.shards.length <= 1) return single(shape, owners, place)
    if (several === undefined || owners.shards.length < several.length) several = owners.shards
  }
  const agreed = agreement(partial, tables)
  if (agreed !== null) return single(shape, ownersOf([agreed], place), place)
  if (several === undefined) {
    const alone = refusal === undefined && shape.isReadOnly && place.topology.shards.length === 1
    if (alone) return onHome(shape, place.topology)
    return { kind: 'refuse', error: refusal ?? differentKeys(place.rules) }
  }
  if (route.scatter.kind === 'refused') return { kind: 'refuse', error: route.scatter.error }
  return scatter(several, route.scatter.offset, bindings, place)
}

function single(shape: Shape, owners: Owners, { topology }: Place): SinglePlan {
  // No key at all matches no row: every shard gives the same answer, so the first one is asked.
  const shard = owners.shards[0] ?? homeShard(topology)
  const { vnode, moves } = owners
  return { kind: 'single', shard, vnode, writes: !shape.isReadOnly, anyShard: false, moves }
}

/** `vnode`: of the first key. */
type Owners = {
  readonly shards: ShardId[]
  readonly vnode: Vnode | null
  readonly moves: readonly TopologyMove[]
}

function ownersOf(keys: readonly KeyValue[], { topology, rules }: Place): Owners {
  const bits = vnodeBitsOf(rules.vnodeCount)
  const shards: ShardId[] = []
  let moves = noMoves
  let first: Vnode | null = null
  for (const key of keys) {
    const { vnode, shard } = placeOfKey(topology, key, bits)
    first ??= vnode
    if (!shards.includes(shard)) shards.push(shard)
    if (topology.moves.length === 0) continue
    const move = moveOfKey(topology, key, vnode)
    if (move !== null && !moves.includes(move)) moves = [...moves, move]
  }
  return { shards, vnode: first, moves }
}

/** The one key that sources which together cover all tables agree on. */
function agreement(
  partial: readonly { readonly cover: Cover; readonly keys: readonly KeyValue[] }[],
  tables: bigint,
): KeyValue | null {
  for (const { keys } of partial) {
    const [key] = keys
    if (key === undefined || keys.length !== 1) continue
    const same = partial.filter((other) => other.keys.length === 1 && isSameKey(other.keys[0], key))
    if (same.reduce((bits, { cover }) => bits | cover.tables, 0n) === tables) return key
  }
  return null
}

function isSameKey(one: KeyValue | undefined, other: KeyValue): boolean {
  if (one === undefined) return false
  if (one.kind === 'bigint') return other.kind === 'bigint' && one.value === other.value
  return other.kind === one.kind && Buffer.compare(one.bytes, other.bytes) === 0
}

function insertedMisfit({ inserted }: KeyRoute, keys: Keys): PgError | null {
  if (inserted === null) return null
  if (keys.nothing) return pgError('keyMissing', [inserted.column, inserted.relation])
  for (const key of keys.values) {
    const misfit = misfitOf(key, inserted)
    if (misfit !== null) return misfit
  }
  return null
}

function differentKeys(rules: ShardingRules): PgError {
  return pgError('unsupportedAcrossShards', ['using different shard key values', rules.key])
}

function scatter(
  shards: readonly ShardId[],
  offset: Scalar | null,
  bindings: Bindings,
  { topology, rules }: { readonly topology: Topology; readonly rules: ShardingRules | null },
): Plan {
  if (offset !== null && !isZero(offset, bindings)) {
    const error = pgError('unsupportedAcrossShards', ['OFFSET', rules?.key ?? ''])
    return { kind: 'refuse', error }
  }
  const clock = readsClock(bindings)
  if (clock) {
    const construct = "a constant such as 'now', which shards read by their own clocks,"
    return { kind: 'refuse', error: pgError('unsupported', [construct]) }
  }
  const { moves, hidden } = topology
  return { kind: 'scatter', shards, moves, hidden }
}

function readsClock({ literals, params }: Bindings): boolean {
  for (let index = 0; index < literals.count; index += 1) {
    const { kind, raw } = literals.at(index)
    if (kind === 'string' && mayBeCurrentTime(utf8Of(raw))) return true
  }
  return paramsReadClock(params?.values ?? [])
}

function paramsReadClock(values: readonly (Uint8Array | null)[]): boolean {
  return values.some(
    (value) =>
      value !== null && value.length <= 64 && mayBeCurrentTime(Buffer.from(value).toString()),
  )
}

function planEverywhere(
  route: Extract<Route, { kind: 'everywhere' }>,
  { params }: Bindings,
  topology: Topology,
): Plan {
  const { what, relation, once, timeColumns } = route
  if (what === 'ddl' && topology.moves.length > 0) {
    return { kind: 'refuse', error: pgError('schemaHeld', []) }
  }
  if (timeColumns && paramsReadClock(params?.values ?? [])) {
    const construct = "a parameter such as 'now' in a write to a reference table"
    return { kind: 'refuse', error: pgError('unsupported', [construct]) }
  }
  const { shards, joining, moves } = topology
  return { kind: 'everywhere', shards, what, relation, once, joining, moves }
}
