// What a statement may leave behind in its session without its plan saying so: by itself (a temporary table, an
// advisory lock), or through code that it runs (DO, CALL, functions, triggers). Read once per shape; the verdict
// needs what is known of the database's code, and that changes with DDL.
import type { Node } from '@pgsql/types'
import { namesOf } from './names.ts'
import type { PinReason } from './plan.ts'
import { childrenOf, isNode } from './syntax.ts'

/** What of a statement decides whether its session must be looked at behind it. */
export type Traces = {
  /** What it leaves behind by what it is. */
  readonly leaves: PinReason | null
  /** It may take such a thing back. */
  readonly takesBack: boolean
  /** It asks for a sequence's number that its session remembers. */
  readonly remembers: boolean
  /** It runs code that is not in the catalogs: DO, a query in a string. */
  readonly opaque: boolean
  /** It has operators, casts or comparisons, which may be somebody's own. */
  readonly computes: boolean
  /** Names of functions that it calls and of relations that it reads or writes, without their schemas. */
  readonly functions: readonly string[]
  readonly relations: readonly string[]
  /** Definitions run event triggers. */
  readonly ddl: boolean
  /** Names with a dot in its text: settings of the user's own are in no catalog. */
  readonly settings: readonly string[]
}

/** What of a database's code may touch the session of who runs it. Names are without their schemas. */
export type SessionCode = {
  readonly functions: ReadonlySet<string>
  /** Reading or writing them runs such code: triggers, views, defaults, policies. */
  readonly relations: ReadonlySet<string>
  /** An operator, a cast or a domain runs such code: any statement may. */
  readonly anywhere: boolean
  /** An event trigger does. */
  readonly inDdl: boolean
  /** Settings of the user's own that the code names. */
  readonly settings: readonly string[]
  /** Functions and relations behind which something is set that only they know. */
  readonly unknowable: ReadonlySet<string>
}

/** How closely a session has to be looked at: for temporary tables, locks and the like, or for settings too. */
export type Look = 'none' | 'things if pinned' | 'things' | 'settings'

/** Of BEGIN and the like. */
export const noTraces: Traces = {
  leaves: null,
  takesBack: false,
  remembers: false,
  opaque: false,
  computes: false,
  functions: [],
  relations: [],
  ddl: false,
  settings: [],
}

/** They run SQL that is given to them, or set what is not written in the statement. */
const opaqueFunctions = /^(?:set_config|ts_stat|ts_rewrite|(?:query|cursor)_to_xml.*)$|^dblink/
const locks = /^pg_(?:try_)?advisory_lock(?:_shared)?$/
const remembered = /^(?:currval|lastval)$/
const unlocks = /^pg_advisory_unlock/
/** They are what nobody can look up, or what ends with the session. */
const lasting =
  /^(?:setseed|dblink_connect(?:_u)?|pg_(?:create|copy)_(?:logical|physical)_replication_slot|pg_replication_origin_session_(?:setup|reset)|pg_backup_start)$/
const dotted = /(?<![\w$])[a-z_][\w$]*(?:\.[a-z_][\w$]*)+/gi
const namesMax = 64

/** True for a system function whose effect on its session can neither be looked up nor replayed. */
export function leavesForGood(name: string): boolean {
  return lasting.test(name)
}

/** Traces of one statement; `sql` is its text. */
export function tracesOf(node: Node, sql: string, ddl: boolean): Traces {
  const functions = new Set<string>()
  const relations = new Set<string>()
  const names = (pattern: RegExp) => [...functions].some((name) => pattern.test(name))
  let temporary = false
  let dropped = false
  let computes = false
  let unknowable = 'DoStmt' in node && setsUnknown.test(sql)
  const visit = (part: object): void => {
    if (isNode(part) && 'FuncCall' in part) {
      const name = namesOf(part.FuncCall.funcname).at(-1) ?? ''
      functions.add(name)
      unknowable ||= name === 'set_config' && !isConstant(part.FuncCall.args?.[0])
    }
    // What it calls is no node of its own.
    if (isNode(part) && 'CallStmt' in part) {
      functions.add(namesOf(part.CallStmt.funccall?.funcname).at(-1) ?? '')
    }
    if ('relname' in part && typeof part.relname === 'string') relations.add(part.relname)
    computes ||= computing.some((tag) => tag in part)
    temporary ||= isTemporary(part)
    dropped ||= Object.values(part).includes('ONCOMMIT_DROP')
    for (const child of childrenOf(part)) visit(child)
  }
  visit(node)
  const rows = rowNodes.some((tag) => tag in node) && !/\binto\b/i.test(sql)
  const thing = temporary && !dropped && !rows ? ('temporary table' as const) : holds(node)
  // SET … FROM CURRENT takes the value that a transaction has, wherever it comes from.
  const opaque = 'DoStmt' in node || 'VariableSetStmt' in node || names(opaqueFunctions)
  return {
    leaves: unknowable ? 'session state' : (thing ?? (names(locks) ? 'advisory lock' : null)),
    takesBack: takingBack.some((tag) => tag in node) || names(unlocks),
    remembers: names(remembered),
    opaque,
    computes,
    functions: [...functions],
    relations: [...relations],
    ddl,
    settings: opaque ? settingsIn(sql) : [],
  }
}

/** A setting whose name is not written there: of the user's own ones no catalog tells. */
const setsUnknown =
  /\bset_config\s*\(\s*[^'\s]|'\s*set\s+(?:session\s+)?(?:%|["\w.]*'+\s*\|\|)|\bset\s+(?:session\s+)?seed\b|\bsetseed\b/i

function isConstant(node: Node | undefined): boolean {
  if (node !== undefined && 'TypeCast' in node) return isConstant(node.TypeCast.arg)
  return node !== undefined && 'A_Const' in node
}

const computing = ['A_Expr', 'TypeCast', 'SubLink', 'CaseExpr', 'MinMaxExpr'] as const

const rowNodes = ['SelectStmt', 'InsertStmt', 'UpdateStmt', 'DeleteStmt', 'MergeStmt'] as const
const takingBack = ['ClosePortalStmt', 'DropStmt', 'DiscardStmt'] as const

/** DECLARE … WITH HOLD: CURSOR_OPT_HOLD of parsenodes.h. */
const cursorHold = 0x20

function holds(node: Node): PinReason | null {
  if (!('DeclareCursorStmt' in node)) return null
  return ((node.DeclareCursorStmt.options ?? 0) & cursorHold) === 0 ? null : 'cursor with hold'
}

/** A mark of temporary things: their persistence, or the schema that is an alias for theirs. */
function isTemporary(part: object): boolean {
  if ('relpersistence' in part && part.relpersistence === 't') return true
  if ('schemaname' in part && String(part.schemaname).startsWith('pg_temp')) return true
  return 'sval' in part && part.sval === 'pg_temp'
}

function settingsIn(sql: string): readonly string[] {
  const names = new Set((sql.match(dotted) ?? []).map((name) => name.toLowerCase()))
  return [...names].slice(0, namesMax)
}

/** How the session must be looked at behind the statement; `code` null: nothing is known of the database's code. */
export function lookFor(traces: Traces, code: SessionCode | null): Look {
  const { leaves, takesBack, opaque, computes, functions, relations, ddl } = traces
  if (opaque) return 'settings'
  const runs = computes || functions.length > 0 || relations.length > 0 || ddl
  const knows =
    code === null
      ? runs
      : code.anywhere ||
        (ddl && code.inDdl) ||
        functions.some((name) => code.functions.has(name)) ||
        relations.some((name) => code.relations.has(name))
  if (knows && runs) return 'settings'
  // What is created without a schema is temporary where the search_path begins with pg_temp.
  if (leaves !== null || ddl) return 'things'
  return takesBack ? 'things if pinned' : 'none'
}
