// SET, RESET, SHOW, set_config() and current_setting() of ringfence.…: settings of the proxy itself,
// which no server ever hears of. A setting is recognised by its name alone, so shapes that depend on
// one hold for their very text only.
import type { Node, VariableSetStmt } from '@pgsql/types'
import { pgError } from '../core/errors.ts'
import { namesOf } from './names.ts'
import type { ScalarSource, SessionCommand, SetConfigCall, SetRingfence } from './plan.ts'
import type { Route } from './route.ts'
import { childrenOf, constantText, isNode } from './syntax.ts'

const prefix = 'ringfence.'

/** True for the name of one of our settings, in any case. */
export function isRingfence(name: string): boolean {
  return name.toLowerCase().startsWith(prefix)
}

/** Route of SET or RESET; undefined for a setting of the server's. */
export function ringfenceSetting(statement: VariableSetStmt): Route | undefined {
  const { kind, args = [], is_local: local = false } = statement
  const name = (statement.name ?? '').toLowerCase()
  if (!isRingfence(name)) return undefined
  const common = { kind: 'setRingfence', name, local, asFunction: false, column: name } as const
  if (kind === 'VAR_RESET' || kind === 'VAR_SET_DEFAULT') return session({ ...common, value: null })
  const texts = args.map((arg) => ('A_Const' in arg ? constantText(arg.A_Const) : null))
  if (kind !== 'VAR_SET_VALUE' || texts.includes(null)) return refusal(`this SET of ${name}`)
  return session({ ...common, value: { constant: texts.join(', ') } })
}

const primaryWord =
  /^SET\s+(?:(LOCAL|SESSION)\s+)?ringfence\.target(?:\s*=\s*|\s+TO\s+)primary\s*;?$/i

/**
 * Route of SET ringfence.target = primary, without quotes: PRIMARY is a reserved word, which the grammar does not take
 * there. Only as a string's one statement; undefined for any other text.
 */
export function setToPrimary(sql: string): Route | undefined {
  const match = primaryWord.exec(sql.trim())
  if (match === null) return undefined
  const name = `${prefix}target`
  const local = match[1]?.toLowerCase() === 'local'
  const value = { constant: 'primary' }
  return session({ kind: 'setRingfence', name, value, local, asFunction: false, column: name })
}

/**
 * Route of SELECT set_config(…), … when a name is one of ours; undefined when none is.
 * `nameOf`: the name of a call, null when it is not known yet.
 */
export function ringfenceCalls(
  calls: readonly SetConfigCall[],
  nameOf: (call: SetConfigCall) => string | null,
): Extract<Route, { kind: 'session' | 'refuse' }> | undefined {
  const names = calls.map((call) => nameOf(call) ?? '')
  if (!names.some(isRingfence)) return undefined
  const [call] = calls
  const [name = ''] = names
  if (call === undefined || calls.length > 1) {
    return refusal('set_config() of a ringfence setting beside another set_config()')
  }
  const { local, value, column = 'set_config' } = call
  const command: SetRingfence = {
    kind: 'setRingfence',
    name: name.toLowerCase(),
    value: isNull(value) ? null : value,
    local,
    asFunction: true,
    column,
  }
  return session(command)
}

/** SELECT current_setting('ringfence.…') and nothing else; undefined for any other statement. */
export function ringfenceReading(node: Node): Route | undefined {
  const target = onlyTarget(node)
  const call = target?.value
  if (call === undefined || !('FuncCall' in call)) return undefined
  const { funcname, args = [] } = call.FuncCall
  if (!isSystem(namesOf(funcname), 'current_setting') || args.length > 2) return undefined
  const [name, missing] = args.map((arg) => ('A_Const' in arg ? constantText(arg.A_Const) : null))
  if (typeof name !== 'string' || !isRingfence(name) || missing === null) return undefined
  const missingOk = missing !== undefined && /^(?:t|true|on|1|yes|y)$/i.test(missing)
  const asFunction = { column: target?.name ?? 'current_setting', missingOk }
  return session({ kind: 'showRingfence', name: name.toLowerCase(), asFunction })
}

/**
 * What the names of settings do to the shape of a statement that is none of the above; `sql` is its
 * text. `textDecides`: another name in the same place would make it one of the above.
 */
export function settingNames(node: Node, sql: string): SettingNames {
  const call = onlyTarget(node)?.value
  const alone = call !== undefined && 'FuncCall' in call ? namesOf(call.FuncCall.funcname) : []
  const found = { textDecides: isSystem(alone, 'current_setting'), ours: false }
  if (!/set_config/i.test(sql)) return found
  const visit = (part: object): void => {
    if (isNode(part) && 'FuncCall' in part && isSetConfig(part)) {
      found.textDecides = true
      const [name] = part.FuncCall.args ?? []
      const text = name !== undefined && 'A_Const' in name ? constantText(name.A_Const) : null
      if (text !== null && isRingfence(text)) found.ours = true
    }
    for (const child of childrenOf(part)) visit(child)
  }
  visit(node)
  return found
}

type SettingNames = { readonly textDecides: boolean; readonly ours: boolean }

/** Refusal of set_config() of one of our settings where it is not the whole statement. */
export function ringfenceInside(): Route {
  return refusal('set_config() of a ringfence setting inside of a statement')
}

function session(command: SessionCommand): Extract<Route, { kind: 'session' }> {
  return { kind: 'session', command }
}

function refusal(construct: string): Extract<Route, { kind: 'refuse' }> {
  return { kind: 'refuse', error: pgError('unsupported', [construct]), unresolved: false }
}

function isNull(value: ScalarSource): boolean {
  return 'constant' in value && value.constant === null
}

function isSetConfig(node: Extract<Node, { FuncCall: unknown }>): boolean {
  return isSystem(namesOf(node.FuncCall.funcname), 'set_config')
}

function isSystem(names: readonly string[], name: string): boolean {
  return names.at(-1) === name && (names.length === 1 || names[0] === 'pg_catalog')
}

/** The target of a SELECT that has one, and no other clause. */
function onlyTarget(
  node: Node,
): { readonly name: string | undefined; readonly value: Node | undefined } | undefined {
  if (!('SelectStmt' in node)) return undefined
  const { targetList = [], limitOption: _, op, ...clauses } = node.SelectStmt
  if (op !== 'SETOP_NONE' || Object.keys(clauses).length > 0) return undefined
  const [target, ...more] = targetList
  if (target === undefined || more.length > 0 || !('ResTarget' in target)) return undefined
  return { name: target.ResTarget.name, value: target.ResTarget.val }
}
