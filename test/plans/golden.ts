// Reads and writes the golden plan files: a statement, an optional line `with …` of parameters, and
// after an arrow how it goes. Lines that start with # are prose; `# context: …` chooses the
// database.
import { PgError } from '../../core/errors.ts'
import type { BoundParams } from '../../router/key-source.ts'
import type { Plan } from '../../router/plan.ts'
import { Router, type RouterContext, type Statement } from '../../router/router.ts'
import type { ReplicaRules } from '../../router/schema.ts'
import { plainContext, replicaContext, sampleContext } from '../router/sample.ts'

const listed: ReplicaRules = {
  allow: new Set(['audit.touch', 'nextval', 'pg_advisory_lock', 'pg_is_in_recovery', 'set_config']),
  deny: new Set(['lower', 'tenant_total', 'other.plus_tax']),
}

const contexts: Readonly<Record<string, () => RouterContext>> = {
  bigint: () => sampleContext(),
  integer: () => sampleContext({ keySqlType: 'integer' }),
  text: () => sampleContext({ keyType: 'text' }),
  'varchar(5)': () => sampleContext({ keyType: 'text', keySqlType: 'character varying(5)' }),
  char: () => sampleContext({ keyType: 'text', keySqlType: 'bpchar' }),
  uuid: () => sampleContext({ keyType: 'uuid' }),
  'search_path = audit, public': () => sampleContext({ searchPath: ['audit', 'public'] }),
  'one shard': () => plainContext,
  'one shard, replicas': () => replicaContext(),
  'one shard, replicas, lists': () => replicaContext(listed),
  'three shards, lists': () => ({ ...sampleContext(), replicaRules: listed }),
  'one shard, replicas, volatile operators': () =>
    replicaContext(null, { operators: ['<<<#'], types: ['shade'] }),
  'one shard, replicas, volatile =': () => replicaContext(null, { operators: ['='], types: [] }),
  'one shard, replicas, volatile implicit cast': () =>
    replicaContext(null, { operators: [], types: ['shade'], implicitCast: true }),
}

/** The file as it should be, and how many statements are in it. */
export function regenerate(file: string): { readonly text: string; readonly statements: number } {
  let router = new Router({ cacheEntriesMax: 1000 })
  let context = sampleContext()
  let statements = 0
  const blocks = file
    .trim()
    .split(/\n{2,}/)
    .map((block) => {
      const chosen = /^# context: (.*)$/m.exec(block)?.[1]
      if (chosen !== undefined) {
        context = contexts[chosen]?.() ?? context
        router = new Router({ cacheEntriesMax: 1000 })
      }
      const lines = block
        .split('\n')
        .filter((line) => !line.startsWith('→') && !line.startsWith('  '))
      const sql = lines
        .filter((line) => !line.startsWith('#') && !line.startsWith('with '))
        .join('\n')
      if (sql === '') return lines.join('\n')
      statements += 1
      const bound = lines.find((line) => line.startsWith('with '))
      return [...lines, ...answers(router, context, sql, bound)].join('\n')
    })
  return { text: `${blocks.join('\n\n')}\n`, statements }
}

function answers(
  router: Router,
  context: RouterContext,
  sql: string,
  bound: string | undefined,
): string[] {
  try {
    const prepared = router.statements(Buffer.from(sql, 'utf8'), context)
    const params = bound === undefined ? null : parseParams(bound.slice('with '.length))
    const { hints, hintProblem, statements } = prepared
    return [
      ...statements.flatMap((statement, at) =>
        describe(router.plan(prepared, at, params, context), statement),
      ),
      ...(hints === null ? [] : [`  hints: ${JSON.stringify(hints)}`]),
      ...(hintProblem === null ? [] : [`  problem: ${hintProblem}`]),
    ]
  } catch (thrown) {
    if (thrown instanceof PgError) return [`→ thrown ${thrown.sqlstate} ${thrown.message}`]
    throw thrown
  }
}

/**
 * `$1 = '5'` in text, `$2 = \x0005` in binary, `$3 = NULL`; `:23` behind a value declares its type
 * oid.
 */
function parseParams(text: string): BoundParams {
  const formats: number[] = []
  const values: (Uint8Array | null)[] = []
  const types: number[] = []
  for (const match of text.matchAll(/\$\d+ = (?:'([^']*)'|\\x([0-9a-f]*)|NULL)(?::(\d+))?/g)) {
    const [, string, hex, type] = match
    formats.push(hex === undefined ? 0 : 1)
    types.push(type === undefined ? 0 : Number(type))
    if (hex !== undefined) values.push(Buffer.from(hex, 'hex'))
    else values.push(string === undefined ? null : Buffer.from(string, 'utf8'))
  }
  return { formats, values, types }
}

function describe(plan: Plan, statement: Statement): string[] {
  const pin = statement.pin === null ? replicaUse(statement) : `, pins: ${statement.pin}`
  switch (plan.kind) {
    case 'single': {
      const vnode = plan.vnode === null ? '' : ` vnode ${plan.vnode}`
      const place = plan.anyShard ? 'any shard' : `${plan.shard}${vnode}`
      return [`→ ${place}, ${plan.writes ? 'may write' : 'reads'}${pin}`]
    }
    case 'scatter':
      return [`→ scatter over ${plan.shards.join(' ')}${pin}`]
    case 'everywhere':
      return [
        `→ everywhere (${plan.what} ${plan.relation})${pin}`,
        ...(plan.once === null ? [] : rewritten(plan.once)),
      ]
    case 'copyIn':
      return [`→ copy split by row: ${JSON.stringify(plan.copy)}`]
    case 'session':
      return [`→ session ${JSON.stringify(plan.command)}${pin}`]
    case 'refuse': {
      const { sqlstate, message, position } = plan.error
      const at = position === undefined ? '' : ` at ${position}`
      return [
        `→ refused ${sqlstate}${at}: ${message}${plan.unresolved === true ? ' (unresolved)' : ''}`,
      ]
    }
  }
}

/** Where a read may run, and why not everywhere; of what writes anyway nothing is said. */
function replicaUse({ replica, command }: Statement): string {
  if (replica.kind === 'allowed') return ', replica'
  if (command === 'ddl' || replica.reason.endsWith(' writes')) return ''
  return `, primary: ${replica.reason}`
}

function rewritten(once: NonNullable<Extract<Plan, { kind: 'everywhere' }>['once']>): string[] {
  const rows = once.sql.split('), (').map((row, at) =>
    row
      .split('::text')
      .slice(1)
      .map((_, column) => `«${at}.${column}»`),
  )
  return [`  once: ${once.sql}`, `  then: ${once.rewrite(rows).replaceAll(/\s+/g, ' ')}`]
}
