// Reads the extended-protocol messages up to Sync or Flush, plans each Bind and finds out where they must go.
// Mistakes that need no server (unknown statement, refused plan) end the batch with an error of our own.
import { type PgError, pgError, toPgError } from '../core/errors.ts'
import type { ShardId } from '../core/ids.ts'
import { frontend } from '../wire/codes.ts'
import {
  decodeBind,
  decodeClose,
  decodeDescribe,
  decodeExecute,
  decodeParse,
} from '../wire/frontend.ts'
import type { Frame } from '../wire/framer.ts'
import type { SessionState } from './session-state.ts'
import type { ClientStatement, Portal } from './statements.ts'
import { type Where, mergeWhere, whereOf } from './where.ts'

export type BatchItem =
  | { readonly kind: 'parse'; readonly frame: Uint8Array; readonly statement: ClientStatement }
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
    }
  | { readonly kind: 'describePortal'; readonly frame: Uint8Array; readonly portal: Portal }
  | {
      readonly kind: 'execute'
      readonly frame: Uint8Array
      readonly portal: Portal
      readonly maxRows: number
    }
  | { readonly kind: 'closeStatement' }
  | {
      readonly kind: 'closePortal'
      readonly frame: Uint8Array
      readonly portal: Portal | undefined
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
  for (const frame of frames) {
    try {
      const item = readItem(frame, state)
      items.push(item)
      where = mergeWhere(where, itemWhere(item, state))
    } catch (error) {
      const known = toPgError(error)
      if (known.severity === 'FATAL') throw known
      return { items, where, error: known }
    }
  }
  return { items, where, error: null }
}

function readItem({ code, bytes }: Frame, state: SessionState): BatchItem {
  switch (code) {
    case frontend.parse:
      return readParse(bytes, state)
    case frontend.bind:
      return readBind(bytes, state)
    case frontend.describe: {
      const { what, name } = decodeDescribe(bytes)
      if (what === 'P')
        return { kind: 'describePortal', frame: bytes, portal: portalOf(name, state) }
      return { kind: 'describeStatement', frame: bytes, statement: statementOf(name, state) }
    }
    case frontend.execute: {
      const { portal: name, maxRows } = decodeExecute(bytes)
      return { kind: 'execute', frame: bytes, portal: portalOf(name, state), maxRows }
    }
    case frontend.close: {
      const { what, name } = decodeClose(bytes)
      if (what === 'S') {
        state.undefine(name)
        return { kind: 'closeStatement' }
      }
      const portal = state.portals.get(name)
      state.portals.delete(name)
      return { kind: 'closePortal', frame: bytes, portal }
    }
    default:
      throw pgError('protocolViolation', [`message type ${code} in a pipeline`])
  }
}

function readParse(frame: Uint8Array, state: SessionState): BatchItem {
  const { name, sql, paramTypes } = decodeParse(frame)
  if (name !== '' && state.statements.has(name)) throw pgError('preparedStatementExists', [name])
  const prepared = state.database.router.statements(sql, state.context())
  if (prepared.statements.length > 1) throw pgError('multipleCommandsPrepared')
  const cached = state.database.statements.intern(sql, paramTypes)
  const statement = { cached, named: name !== '', prepared }
  refuseInFailed(statement, state)
  state.define(name, statement)
  return { kind: 'parse', frame, statement }
}

function readBind(frame: Uint8Array, state: SessionState): BatchItem {
  const message = decodeBind(frame)
  const statement = statementOf(message.statement, state)
  refuseInFailed(statement, state)
  const { paramFormats: formats, params: values } = message
  const params = { formats, values, types: statement.cached.paramTypes }
  const plan = state.plan(statement.prepared, 0, params)
  if (plan.kind === 'refuse') throw plan.error
  const portal: Portal = { statement, params, plan, bindFrame: frame, shard: null }
  state.portals.set(message.portal, portal)
  return { kind: 'bind', frame, name: message.portal, portal }
}

/** A failed transaction takes nothing but its end, as PostgreSQL's exec_parse_message has it. */
function refuseInFailed(statement: ClientStatement, state: SessionState): void {
  if (state.transaction?.failed !== true) return
  if (statement.prepared.statements.length === 0) return
  const plan = state.plan(statement.prepared, 0, null)
  const kind = plan.kind === 'session' ? plan.command.kind : plan.kind
  if (kind === 'commit' || kind === 'rollback' || kind === 'rollbackTo') return
  throw pgError('transactionAborted')
}

function statementOf(name: string, state: SessionState): ClientStatement {
  const statement = state.statements.get(name)
  if (statement !== undefined) return statement
  if (name === '') throw pgError('unnamedStatementUnknown')
  throw pgError('preparedStatementUnknown', [name])
}

function portalOf(name: string, state: SessionState): Portal {
  const portal = state.portals.get(name)
  if (portal === undefined) throw pgError('portalUnknown', [name])
  return portal
}

/** Parse, Describe of a statement and Close are at home on any server. */
function itemWhere(item: BatchItem, state: SessionState): Where {
  switch (item.kind) {
    case 'parse':
    case 'describeStatement':
      return '(any)'
    case 'closeStatement':
      return '(nowhere)'
    case 'closePortal':
      return item.portal === undefined ? '(nowhere)' : portalWhere(item.portal, state)
    case 'bind':
    case 'describePortal':
    case 'execute':
      return portalWhere(item.portal, state)
  }
}

function portalWhere(portal: Portal, state: SessionState): Where {
  const open: ShardId | null = portal.shard
  return open ?? whereOf(portal.plan, state)
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
  if (where === '(any)' || where === '(nowhere)' || where === shard) return batch
  const error = pgError('unsupported', ['a pipeline that goes on to another shard after Flush'])
  return { items: [], where: '(nowhere)', error }
}
