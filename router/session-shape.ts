// Statements that change the session or the transaction rather than rows: BEGIN, SET, DISCARD,
// set_config().
import type { Node, TransactionStmt, VariableSetStmt } from '@pgsql/types'
import { pgError } from '../core/errors.ts'
import { channelsFunction } from './channel-calls.ts'
import { castTarget, namesOf } from './names.ts'
import type { PinReason, ScalarSource, SessionCommand, SetConfigCall } from './plan.ts'
import { settingName } from './setting-value.ts'
import {
  isRingfence,
  ringfenceCalls,
  ringfenceReading,
  ringfenceSetting,
} from './ringfence-settings.ts'
import { refused, type Route } from './route.ts'
import { constantText } from './syntax.ts'
import { isTrue, modesOfSetting, readModes } from './transaction-modes.ts'

/** Route and pin of a session statement. */
export type SessionShape = { readonly route: Route; readonly pin: PinReason | null }

/** Undefined when `node` is none of them. */
export function sessionShape(node: Node, sharded: boolean): SessionShape | undefined {
  if ('TransactionStmt' in node) return transaction(node.TransactionStmt, sharded)
  if ('VariableSetStmt' in node) return setting(node.VariableSetStmt, sharded)
  if ('ConstraintsSetStmt' in node) return session({ kind: 'setLocal' })
  if ('DiscardStmt' in node) {
    return node.DiscardStmt.target === 'DISCARD_ALL'
      ? session({ kind: 'discardAll' })
      : onHome(null)
  }
  if ('DeallocateStmt' in node) {
    return session({ kind: 'deallocate', name: node.DeallocateStmt.name ?? null })
  }
  if ('ListenStmt' in node) {
    return session({ kind: 'listen', channel: cut(node.ListenStmt.conditionname ?? '') })
  }
  if ('UnlistenStmt' in node) {
    const { conditionname } = node.UnlistenStmt
    const channel = conditionname === undefined ? null : cut(conditionname)
    return session({ kind: 'unlisten', channel })
  }
  if ('NotifyStmt' in node) return session({ kind: 'notify' })
  const column = listeningChannels(node)
  if (column !== undefined) return session({ kind: 'listeningChannels', column })
  const prepared = sharded ? undefined : preparedStatement(node)
  if (prepared !== undefined) return prepared
  if ('VariableShowStmt' in node) {
    const name = node.VariableShowStmt.name ?? ''
    if (isRingfence(name)) return session({ kind: 'showRingfence', name: name.toLowerCase() })
    return { route: { kind: 'any' }, pin: null }
  }
  const reading = ringfenceReading(node)
  if (reading !== undefined) return { route: reading, pin: null }
  return 'SelectStmt' in node ? setConfigQuery(node, sharded) : undefined
}

function session(command: SessionCommand): SessionShape {
  return { route: { kind: 'session', command }, pin: null }
}

/** Name of the column when the query asks for the channels and nothing else. */
function listeningChannels(node: Node): string | undefined {
  if (!('SelectStmt' in node)) return undefined
  const { targetList = [], fromClause = [], limitOption: _, op, ...clauses } = node.SelectStmt
  const [target, ...others] = targetList
  if (op !== 'SETOP_NONE' || others.length > 0 || Object.keys(clauses).length > 0) return undefined
  if (target === undefined || !('ResTarget' in target) || fromClause.length > 1) return undefined
  const { name, val } = target.ResTarget
  const [from] = fromClause
  if (from === undefined) return isChannels(val) ? (name ?? channelsFunction) : undefined
  const star = val !== undefined && 'ColumnRef' in val && isStar(val.ColumnRef.fields)
  if (!star || !('RangeFunction' in from) || from.RangeFunction.alias !== undefined)
    return undefined
  const [call] = from.RangeFunction.functions ?? []
  const [item] = call !== undefined && 'List' in call ? (call.List.items ?? []) : []
  return isChannels(item) ? channelsFunction : undefined
}

function isChannels(node: Node | undefined): boolean {
  if (node === undefined || !('FuncCall' in node)) return false
  return namesOf(node.FuncCall.funcname).at(-1) === channelsFunction
}

function isStar(fields: readonly Node[] | undefined): boolean {
  return fields?.length === 1 && fields.some((field) => 'A_Star' in field)
}

/** PREPARE and EXECUTE; undefined for other statements. */
function preparedStatement(node: Node): SessionShape | undefined {
  if ('PrepareStmt' in node)
    return session({ kind: 'prepare', name: cut(node.PrepareStmt.name ?? '') })
  const name = executed(node)
  return name === undefined ? undefined : session({ kind: 'execute', name: cut(name) })
}

/** EXECUTE itself, EXPLAIN of one, and CREATE TABLE … AS EXECUTE. */
function executed(node: Node | undefined): string | undefined {
  if (node === undefined) return undefined
  if ('ExecuteStmt' in node) return node.ExecuteStmt.name
  if ('ExplainStmt' in node) return executed(node.ExplainStmt.query)
  return 'CreateTableAsStmt' in node ? executed(node.CreateTableAsStmt.query) : undefined
}

/** Identifiers end at 63 bytes. */
function cut(name: string): string {
  const bytes = Buffer.from(name)
  if (bytes.length <= identifierBytesMax) return name
  let end = identifierBytesMax
  while (((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1
  return bytes.toString('utf8', 0, end)
}

const identifierBytesMax = 63

function onHome(pin: PinReason | null): SessionShape {
  return { route: { kind: 'home' }, pin }
}

function refusedSession(construct: string): SessionShape {
  return { route: refused(pgError('unsupported', [construct])), pin: null }
}

function transaction(statement: TransactionStmt, sharded: boolean): SessionShape {
  const { kind, chain = false, savepoint_name: name = '', options } = statement
  switch (kind) {
    case 'TRANS_STMT_BEGIN':
    case 'TRANS_STMT_START':
      return session({ kind: 'begin', ...readModes(options) })
    case 'TRANS_STMT_COMMIT':
      return session({ kind: 'commit', chain })
    case 'TRANS_STMT_ROLLBACK':
      return session({ kind: 'rollback', chain })
    case 'TRANS_STMT_SAVEPOINT':
      return session({ kind: 'savepoint', name })
    case 'TRANS_STMT_RELEASE':
      return session({ kind: 'release', name })
    case 'TRANS_STMT_ROLLBACK_TO':
      return session({ kind: 'rollbackTo', name })
    default:
      // PREPARE TRANSACTION and what ends one: the proxy's own means of atomicity.
      return sharded ? refusedSession('PREPARE TRANSACTION or COMMIT PREPARED') : onHome(null)
  }
}

/** Undefined for what no statement can be replayed for: the value that a transaction has now. */
function setting(statement: VariableSetStmt, sharded: boolean): SessionShape | undefined {
  const { kind, is_local: local = false } = statement
  const name = settingName(statement.name ?? '')
  if (kind === 'VAR_RESET_ALL') return session({ kind: 'resetAll' })
  if (kind === 'VAR_SET_MULTI') return severalSettings(statement, name, sharded)
  const ours = ringfenceSetting(statement)
  if (ours !== undefined) return { route: ours, pin: null }
  if (kind === 'VAR_SET_CURRENT' && !local) return undefined
  const refusal = sharded ? refusedSetting(statement, name, local) : null
  if (refusal !== null) return refusedSession(refusal)
  const modes = kind === 'VAR_RESET' ? undefined : modesOfSetting(statement)
  if (modes !== undefined) return session({ kind: 'setLocal', modes })
  if (local) return session({ kind: 'setLocal' })
  const resets = kind === 'VAR_RESET' || kind === 'VAR_SET_DEFAULT'
  if (sharded && !resets && (name === 'role' || name === 'session_authorization')) {
    return refusedSession('SET ROLE or SET SESSION AUTHORIZATION')
  }
  if (name === 'seed') return onHome('session state')
  if (resets) return session({ kind: 'reset', name, tag: kind === 'VAR_RESET' ? 'RESET' : 'SET' })
  const shape = session({ kind: 'set', name })
  // CREATE TABLE makes temporary tables there without saying so.
  return namesTemporary(statement) ? { ...shape, pin: 'temporary table' } : shape
}

function namesTemporary({ name = '', args = [] }: VariableSetStmt): boolean {
  if (name.toLowerCase() !== 'search_path') return false
  return args.some((arg) => 'A_Const' in arg && /pg_temp/i.test(constantText(arg.A_Const) ?? ''))
}

/**
 * SET TRANSACTION belongs to the transaction; SESSION CHARACTERISTICS are settings under other
 * names.
 */
function severalSettings(statement: VariableSetStmt, name: string, sharded: boolean): SessionShape {
  if (name === 'transaction snapshot' && sharded) return refusedSession('SET TRANSACTION SNAPSHOT')
  if (name === 'transaction') return session({ kind: 'setLocal', modes: readModes(statement.args) })
  if (name !== 'session characteristics') return session({ kind: 'setLocal' })
  const options = (statement.args ?? []).flatMap((arg) =>
    'DefElem' in arg ? [arg.DefElem.defname ?? ''] : [],
  )
  // transaction_isolation is set through default_transaction_isolation, and so on.
  if (options.length === 1) return session({ kind: 'set', name: `default_${options[0]}` })
  if (sharded) return refusedSession('SET SESSION CHARACTERISTICS with several modes')
  const { access, isolation, deferrable } = readModes(statement.args)
  const calls = [
    ...(isolation === null ? [] : [callOf('default_transaction_isolation', isolation)]),
    ...(access === null
      ? []
      : [callOf('default_transaction_read_only', access === 'read only' ? 'on' : 'off')]),
    ...(options.includes('transaction_deferrable')
      ? [callOf('default_transaction_deferrable', deferrable ? 'on' : 'off')]
      : []),
  ]
  return session({ kind: 'setConfig', calls })
}

function callOf(name: string, value: string): SetConfigCall {
  return { name: { constant: name }, value: { constant: value }, local: { constant: 'f' } }
}

const shadowing = 'a search_path with pg_catalog behind another schema'

/** Settings that would make the proxy read SQL differently from the servers. */
function refusedSetting(statement: VariableSetStmt, name: string, local: boolean): string | null {
  const values = (statement.args ?? []).map((arg) =>
    'A_Const' in arg ? (constantText(arg.A_Const) ?? '').toLowerCase() : '',
  )
  if (name === 'search_path') {
    if (local) return 'SET LOCAL search_path on a sharded database'
    // There an "=" of the user's own would come before the system's.
    if (values.lastIndexOf('pg_catalog') > 0) return shadowing
    return values.some((value) => /pg_temp/.test(value)) ? 'a search_path with pg_temp' : null
  }
  if (statement.kind !== 'VAR_SET_VALUE') return null
  if (name === 'standard_conforming_strings' && !isTrue(values[0])) {
    return 'standard_conforming_strings = off'
  }
  const utf8 = /^(?:utf-?8|unicode)$/.test((values[0] ?? '').replaceAll('_', ''))
  return name === 'client_encoding' && !utf8 ? 'a client_encoding other than UTF8' : null
}

/** SELECT set_config(…), …: undefined when the query does anything else. */
function setConfigQuery(node: Node, sharded: boolean): SessionShape | undefined {
  if (!('SelectStmt' in node)) return undefined
  const { targetList = [], limitOption: _, op, ...clauses } = node.SelectStmt
  if (targetList.length === 0 || op !== 'SETOP_NONE' || Object.keys(clauses).length > 0)
    return undefined
  const calls: SetConfigCall[] = []
  for (const target of targetList) {
    const value = 'ResTarget' in target ? target.ResTarget.val : undefined
    const call = value !== undefined && 'FuncCall' in value ? value.FuncCall : undefined
    const names = namesOf(call?.funcname)
    if (names.at(-1) !== 'set_config' || (names.length > 1 && names[0] !== 'pg_catalog')) {
      return undefined
    }
    const [name, setTo, local, ...more] = (call?.args ?? []).map(scalarSource)
    if (name === undefined || setTo === undefined || local === undefined) return undefined
    if (name === null || setTo === null || local === null || more.length > 0) return undefined
    const column = 'ResTarget' in target ? target.ResTarget.name : undefined
    calls.push({ name, value: setTo, local, ...(column === undefined ? {} : { column }) })
  }
  const ours = ringfenceCalls(calls, ({ name }) => ('constant' in name ? name.constant : null))
  if (ours !== undefined) return { route: ours, pin: null }
  const refusal = sharded ? calls.map(refusedCall).find((reason) => reason !== null) : undefined
  return refusal === undefined
    ? session({ kind: 'setConfig', calls })
    : refusedSession(refusal ?? 'set_config()')
}

function refusedCall({ name, value, local }: SetConfigCall): string | null {
  if (!('constant' in name)) return 'set_config() of a setting that a parameter names'
  const setting = (name.constant ?? '').toLowerCase()
  const text = 'constant' in value ? (value.constant ?? '') : null
  if (setting === 'search_path') {
    const session = 'constant' in local && /^(?:f|false|off|0|no|n)$/i.test(local.constant ?? '')
    return session && text !== null && !/pg_temp|,[\s"]*pg_catalog/i.test(text)
      ? null
      : 'this set_config() of search_path'
  }
  if (setting === 'standard_conforming_strings' && !isTrue(text?.toLowerCase())) {
    return 'standard_conforming_strings = off'
  }
  if (setting === 'role' || setting === 'session_authorization') return `set_config() of ${setting}`
  const utf8 = /^(?:utf-?_?8|unicode)$/i.test(text ?? '')
  return setting === 'client_encoding' && !utf8 ? 'a client_encoding other than UTF8' : null
}

function scalarSource(node: Node): ScalarSource | null {
  if ('ParamRef' in node) return { param: node.ParamRef.number ?? 0 }
  if ('A_Const' in node) return { constant: constantText(node.A_Const) }
  if (!('TypeCast' in node) || node.TypeCast.arg === undefined) return null
  const { arg, typeName } = node.TypeCast
  const names = namesOf(typeName?.names)
  const target = castTarget(typeName)
  return target?.family === 'text' || names.at(-1) === 'bool' ? scalarSource(arg) : null
}
