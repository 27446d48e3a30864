// Reads the extended-protocol messages up to Sync or Flush, plans each Bind and finds out where they must go.
// Mistakes that need no server (unknown statement, refused plan) end the batch with an error of our own.
import { type PgError, pgError, toPgError } from '../core/errors.ts'
import type { ShardId } from '../core/ids.ts'
import { frontend } from '../wire/codes.ts'
import {
  type BindMessage,
  decodeBind,
  decodeClose,
  decodeDescribe,
  decodeExecute,
  decodeParse,
} from '../wire/frontend.ts'
import type { Frame } from '../wire/framer.ts'
import { blankHints } from '../router/hints.ts'
import type { Prepared } from '../router/router.ts'
import { asksForChannels } from './asked-channels.ts'
import { refusePin } from './effects.ts'
import { endsFailure } from './query.ts'
import { isRepeatable, noRead, type ReadFacts, suitsReplica } from './read-facts.ts'
import type { SessionState } from './session-state.ts'
import { internNow, mayChangeReading } from './statement-scope.ts'
import { ClientStatement, type Portal } from './statements.ts'
import { type Where, mergeWhere, whereOf } from './where.ts'

export type BatchItem =
  | {
      readonly kind: 'parse'
      readonly frame: Uint8Array
      readonly statement: ClientStatement
      readonly prepared: Prepared
    }
  | {
      readonly kind: 'bind'
      readonly frame: Uint8Array
      readonly name: string
      readonly portal: Portal
    }
  | {
      readonly kind: 'describeStatement'
      readonly frame: Uint8Array
      readonly statement: ClientStatement
      readonly prepared: Prepared
    }
  | { readonly kind: 'describePortal'; readonly frame: Uint8Array; readonly portal: Portal }
  | {
      readonly kind: 'execute'
      readonly frame: Uint8Array
      readonly portal: Portal
      readonly maxRows: number
    }
  | { readonly kind: 'closeStatement' }
  /** `portal` undefined: no server has it. */
  | {
      readonly kind: 'closePortal'
      readonly frame: Uint8Array
      readonly portal: Portal | undefined
    }
  /** About a portal or statement of the server's own, made by SQL: passed on as it is. */
  | {
      readonly kind: 'foreign'
      readonly frame: Uint8Array
      readonly owes: 'bind' | 'describe' | 'execute' | 'close'
      readonly shard: ShardId
    }

export type Batch = {
  readonly items: readonly BatchItem[]
  readonly where: Where
  /** What ends the batch after its items; later messages are skipped up to Sync. */
  readonly error: PgError | null
}

/** @throws PgError 08P01 when a message is malformed; other mistakes are `error` of the batch. */
export function readBatch(frames: readonly Frame[], state: SessionState): Batch {
  const items: BatchItem[] = []
  let where: Where = '(nowhere)'
  let unsure = isUnderWay(state)
  for (const frame of frames) {
    try {
      const item = readItem(frame, state, unsure)
      items.push(item)
      unsure ||= item.kind === 'execute' && mayChangeReading(item.portal.prepared, state)
      where = mergeWhere(where, itemWhere(item, state))
    } catch (error) {
      const known = toPgError(error)
      if (known.severity === 'FATAL') throw known
      return { items, where: settled(items, where, state), error: known }
    }
  }
  return { items, where: settled(items, where, state), error: null }
}

/** What a Flush has sent ahead is not answered yet. */
function isUnderWay({ leases }: SessionState): boolean {
  for (const { server } of leases) if (server.exchangesOwed > 0) return true
  return false
}

function readItem({ code, bytes }: Frame, state: SessionState, unsure: boolean): BatchItem {
  switch (code) {
    case frontend.parse:
      return readParse(bytes, state, unsure)
    case frontend.bind:
      return readBind(bytes, state)
    case frontend.describe: {
      const { what, name } = decodeDescribe(bytes)
      return readDescribe(bytes, what, name, state)
    }
    case frontend.execute: {
      const { portal: name, maxRows } = decodeExecute(bytes)
      const portal = state.portals.get(name)
      if (portal === undefined) return foreign(bytes, 'execute', state) ?? unknown('P', name)
      return { kind: 'execute', frame: bytes, portal, maxRows }
    }
    case frontend.close: {
      const { what, name } = decodeClose(bytes)
      if (what === 'S') {
        state.undefine(name)
        return { kind: 'closeStatement' }
      }
      const portal = state.portals.get(name)
      state.portals.delete(name)
      const own: BatchItem = { kind: 'closePortal', frame: bytes, portal }
      return portal === undefined ? (foreign(bytes, 'close', state) ?? own) : own
    }
    default:
      throw pgError('protocolViolation', [`message type ${code} in a pipeline`])
  }
}

function readDescribe(
  frame: Uint8Array,
  what: 'S' | 'P',
  name: string,
  state: SessionState,
): BatchItem {
  const portal = what === 'P' ? state.portals.get(name) : undefined
  const statement = what === 'S' ? state.statements.get(name) : undefined
  if (portal !== undefined) return { kind: 'describePortal', frame, portal }
  if (statement !== undefined) {
    const prepared = state.preparedNow(statement)
    return { kind: 'describeStatement', frame, statement, prepared }
  }
  return foreign(frame, 'describe', state) ?? unknown(what, name)
}

function readParse(frame: Uint8Array, state: SessionState, unsure: boolean): BatchItem {
  const { name, sql, paramTypes } = decodeParse(frame)
  if (name !== '' && state.statements.has(name)) {
    throw state.failure === 'none' ? pgError('preparedStatementExists', [name]) : state.aborted
  }
  const { router } = state.database
  const { reading } = state
  const prepared = router.statements(sql, reading.context)
  if (prepared.statements.length > 1) throw pgError('multipleCommandsPrepared')
  refusePin(prepared, state)
  // What differs in its hints alone is one statement on the servers.
  const plain = prepared.hints === null ? sql : blankHints(sql, prepared.hintSpans)
  const text = { sql: plain, types: paramTypes }
  const cached = internNow(state, text, unsure && name !== '')
  const statement = new ClientStatement(name !== '', cached, prepared, reading)
  refuseInFailed(statement, state)
  state.define(name, statement, unsure)
  return { kind: 'parse', frame, statement, prepared }
}

function readBind(frame: Uint8Array, state: SessionState): BatchItem {
  const message = decodeBind(frame)
  const statement = state.statements.get(message.statement)
  if (statement === undefined) {
    state.portals.delete(message.portal)
    return foreign(frame, 'bind', state) ?? unknown('S', message.statement)
  }
  refuseInFailed(statement, state)
  const { paramFormats: formats, params: values } = message
  const prepared = state.preparedNow(statement)
  if (statement.isOutdated(state.database.definitions)) {
    throw pgError('resultTypeChanged', [], { routine: 'RevalidateCachedQuery' })
  }
  refusePin(prepared, state)
  const parameters = prepared.statements[0]?.paramCount ?? 0
  checkParameters(message, Math.max(statement.cached.paramTypes.length, parameters))
  const params = { formats, values, types: statement.cached.paramTypes }
  const plan = state.plan(prepared, 0, params)
  if (plan.kind === 'refuse' && state.failure !== 'server') throw plan.error
  const bound = { statement, prepared, params, plan, bindFrame: frame }
  const before = message.portal === '' ? null : (state.portals.get(message.portal) ?? null)
  const hides = before?.hides ?? before
  const portal: Portal = { ...bound, shard: null, begun: false, hides }
  state.portals.set(message.portal, portal)
  return { kind: 'bind', frame, name: message.portal, portal }
}

/** The server would name the statement as we call it there. */
function checkParameters(
  { statement: name, paramFormats, params }: BindMessage,
  needed: number,
): void {
  const formats = paramFormats.length
  if (formats > 1 && formats !== params.length) {
    throw pgError('bindFormatCount', [formats, params.length])
  }
  if (needed !== params.length) {
    throw pgError('bindParameterCount', [params.length, name, needed])
  }
}

/** Only the server can know it, if there is one that the client has to itself. */
function foreign(
  frame: Uint8Array,
  owes: Extract<BatchItem, { kind: 'foreign' }>['owes'],
  { knowingShard: shard }: SessionState,
): BatchItem | null {
  return shard === null ? null : { kind: 'foreign', frame, owes, shard }
}

function unknown(what: 'S' | 'P', name: string): never {
  if (what === 'P') throw pgError('portalUnknown', [name])
  if (name === '') throw pgError('unnamedStatementUnknown')
  throw pgError('preparedStatementUnknown', [name])
}

/** A failure that no server knows of: nothing but the transaction's end may follow. */
function refuseInFailed(statement: ClientStatement, state: SessionState): void {
  if (state.failure !== 'local') return
  if (!endsFailure(state.plan(state.preparedNow(statement), 0, null))) throw state.aborted
}

/** Parse, Describe of a statement and Close are at home on any server. */
function itemWhere(item: BatchItem, state: SessionState): Where {
  switch (item.kind) {
    case 'parse':
      return isBegin(item.statement, state) ? '(begin)' : '(any)'
    case 'describeStatement':
      if (!item.statement.meansTheSame(state.effective)) return '(steps)'
      return isExecute(item.prepared) ? '(steps)' : '(any)'
    case 'closeStatement':
      return '(nowhere)'
    case 'closePortal':
      return item.portal === undefined ? '(nowhere)' : portalWhere(item.portal, state)
    case 'foreign':
      return item.shard
    case 'bind':
      return isUnproven(item.portal, state) ? '(unproven)' : portalWhere(item.portal, state)
    case 'describePortal':
    case 'execute':
      return portalWhere(item.portal, state)
  }
}

/** What it gives only the statement tells that it names. */
function isExecute({ statements }: Prepared): boolean {
  const route = statements[0]?.route
  return route?.kind === 'session' && route.command.kind === 'execute'
}

function isUnproven({ statement }: Portal, state: SessionState): boolean {
  return statement.isUnproven(state.database.definitions) && state.failure === 'none'
}

function portalWhere(portal: Portal, state: SessionState): Where {
  const { shard, statement, plan, prepared } = portal
  if (shard !== null) return shard
  if (!statement.meansTheSame(state.effective)) return '(steps)'
  const where = whereOf(plan, state)
  const asks = state.listening !== null && asksForChannels(state, prepared)
  return asks ? mergeWhere('(steps)', where) : where
}

function isBegin(statement: ClientStatement, state: SessionState): boolean {
  const prepared = state.preparedNow(statement)
  if (prepared.statements[0]?.command !== 'session' || state.transaction !== null) return false
  const plan = state.plan(prepared, 0, null)
  return plan.kind === 'session' && plan.command.kind === 'begin'
}

function settled(items: readonly BatchItem[], where: Where, state: SessionState): Where {
  return goesOn(items, state) ? '(steps)' : settleBegin(items, where)
}

/** True for what ends a failed transaction and goes on: the failed server was asked for what it would do in the transaction. */
function goesOn(items: readonly BatchItem[], state: SessionState): boolean {
  if (state.failure !== 'server') return false
  const at = items.findIndex(({ kind }) => kind === 'execute')
  if (at < 0 || items.slice(at + 1).every(({ kind }) => kind !== 'execute')) return false
  return items.slice(0, at + 1).every((item) => {
    const prepared = item.kind === 'execute' ? item.portal.prepared : preparedOf(item)
    return prepared !== null && endsFailure(state.plan(prepared, 0, null))
  })
}

/** A BEGIN alone takes no server, unless its portal is left open for later. */
function settleBegin(items: readonly BatchItem[], where: Where): Where {
  if (where !== '(begin)') return where
  const binds = items.filter(({ kind }) => kind === 'bind').length
  const executes = items.filter(({ kind }) => kind === 'execute').length
  return binds > 0 && binds === executes ? '(steps)' : '(any)'
}

/** What the statements that it names, runs or defines allow. */
export function factsOf({ items, error }: Batch): ReadFacts {
  let onReplica = error === null
  let repeatable = error === null
  let hints: ReadFacts['hints'] = null
  let empty = true
  for (const item of items) {
    if (item.kind === 'closeStatement') continue
    empty = false
    const prepared = preparedOf(item)
    if (prepared === null) {
      onReplica = false
      repeatable = false
      continue
    }
    hints ??= prepared.hints
    for (const statement of prepared.statements) {
      onReplica &&= suitsReplica(statement)
      repeatable &&= isRepeatable(statement)
    }
  }
  return empty ? noRead : { onReplica, repeatable, hints }
}

/** Null for what only a certain server knows. */
function preparedOf(item: BatchItem): Prepared | null {
  switch (item.kind) {
    case 'parse':
    case 'describeStatement':
      return item.prepared
    case 'bind':
    case 'describePortal':
      return item.portal.prepared
    case 'execute':
      // A portal that stays open belongs to a transaction.
      return item.maxRows === 0 ? item.portal.prepared : null
    case 'closePortal':
    case 'foreign':
    case 'closeStatement':
      return null
  }
}

/** True when one of its statements may write. */
export function writesOf({ items }: Batch): boolean {
  return items.some(({ kind, ...item }) => {
    if (kind !== 'execute' || !('portal' in item)) return false
    const plan = item.portal?.plan
    return plan?.kind === 'single' && plan.writes
  })
}

/** What of `batch` may follow on a server whose pipeline an earlier Flush left open. */
export function continued(batch: Batch, shard: ShardId): Batch {
  const { where } = batch
  // What its server has known before, that server itself compares.
  if (where === '(unproven)') return batch
  if (where === '(any)' || where === '(nowhere)' || where === shard) return batch
  const error =
    where === '(held)'
      ? pgError('vnodesHeld', ['its pipeline is open elsewhere'])
      : pgError('unsupported', ['a pipeline that goes on to another shard after Flush'])
  return { items: [], where: '(nowhere)', error }
}
