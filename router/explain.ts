// EXPLAIN (ROUTE) and `ringfence explain`: how a statement would go, as rows of aspect and value.
import { PgError } from '../core/errors.ts'
import { vnodeBitsOf } from './key-hash.ts'
import { type Bindings, type KeySource, keysOf, type Scalar } from './key-source.ts'
import { utf8Of } from './literals.ts'
import type { Plan } from './plan.ts'
import type { Route } from './route.ts'
import type { Prepared, Router, RouterContext, Statement } from './router.ts'
import { moveOfKey, placeOfKey } from './topology.ts'

/** Aspect and value. The aspect `error` stands in the rows of a statement that would be refused. */
export type RouteRow = readonly [aspect: string, value: string]

/**
 * How every statement of `sql` would go; parameters are unknown here. Nothing is thrown for a wrong
 * statement.
 */
export function explainRoute(
  sql: string,
  router: Router,
  context: RouterContext,
): readonly RouteRow[] {
  try {
    const prepared = router.statements(Buffer.from(sql, 'utf8'), context)
    const several = prepared.statements.length > 1
    return prepared.statements.flatMap((statement, at) => [
      ...(several ? [['statement', statement.sql.trim()] as const] : []),
      ...explainStatement(router, prepared, at, context),
    ])
  } catch (thrown) {
    if (thrown instanceof PgError) return [['class', 'refused'], ...errorRows(thrown)]
    throw thrown
  }
}

function explainStatement(
  router: Router,
  prepared: Prepared,
  index: number,
  context: RouterContext,
): RouteRow[] {
  const statement = prepared.statements[index]
  if (statement === undefined) return []
  const bindings = { literals: prepared.literals, params: null }
  const { route } = statement
  const fromParameter = route.kind === 'key' && route.covers.some(({ source }) => usesParam(source))
  const rows: RouteRow[] =
    fromParameter || route.kind !== 'key' ? [] : keyRows(route, bindings, context)
  const common: RouteRow[] = [
    ['server', serverOf(statement)],
    ['epoch', String(context.topology.epoch)],
    ...(statement.pin === null ? [] : [['pins', statement.pin] as const]),
  ]
  if (fromParameter) {
    const value = route.covers.map(({ source }) => predicate(source, bindings)).join(' and ')
    return [
      ['class', 'one shard'],
      ['key', value],
      ['reason', 'the parameters choose the shard'],
      ...common,
    ]
  }
  const plan = router.plan(prepared, index, null, context)
  return [...planRows(plan, statement), ...rows, ...(plan.kind === 'refuse' ? [] : common)]
}

function planRows(plan: Plan, { route, sql }: Statement): RouteRow[] {
  const text = sql.trim()
  switch (plan.kind) {
    case 'single':
      return [
        ['class', singleClass(route)],
        ['shard', plan.anyShard ? 'any' : plan.shard],
        [`SQL on ${plan.shard}`, text],
      ]
    case 'scatter':
      return [
        ['class', route.kind === 'key' ? 'few shards' : 'scatter, streamed'],
        ['shards', plan.shards.join(', ')],
        ...hiddenRows(plan),
        ...plan.shards.map((shard): RouteRow => [`SQL on ${shard}`, text]),
      ]
    case 'everywhere':
      return [
        [
          'class',
          plan.what === 'ddl' ? 'definition, on every shard' : 'write to a reference table',
        ],
        ['shards', plan.shards.join(', ')],
        ...(plan.once === null ? [] : [['computed once', plan.once.sql] as const]),
        ...plan.shards.map((shard): RouteRow => [`SQL on ${shard}`, text]),
      ]
    case 'copyIn':
      return [
        ['class', 'COPY split by row'],
        ['key', `column ${plan.copy.keyIndex + 1}, "${plan.copy.keyColumn}"`],
      ]
    case 'session':
      return [['class', `session (${plan.command.kind})`]]
    case 'refuse':
      return [['class', 'refused'], ...errorRows(plan.error)]
  }
}

/** Shards whose rows of other shards the statement is kept from seeing. */
function hiddenRows({ shards, hidden }: Extract<Plan, { kind: 'scatter' }>): RouteRow[] {
  const hiding = shards.filter((shard) => hidden.has(shard))
  return hiding.length === 0 ? [] : [['hides rows of others', hiding.join(', ')]]
}

function serverOf({ replica }: Statement): string {
  return replica.kind === 'allowed' ? 'replica or primary (a read)' : `primary (${replica.reason})`
}

function singleClass({ kind }: Route): string {
  if (kind === 'key') return 'one shard'
  if (kind === 'home') return 'home shard'
  return kind === 'reference' ? 'any shard (reference tables)' : 'any shard (no tables)'
}

function keyRows(
  { covers }: Extract<Route, { kind: 'key' }>,
  bindings: Bindings,
  { topology, rules }: RouterContext,
): RouteRow[] {
  const rows: RouteRow[] = []
  for (const { source } of covers) {
    rows.push(['key', predicate(source, bindings)])
    const keys = keysOf(source, bindings)
    if (keys instanceof PgError || rules === null) continue
    const bits = vnodeBitsOf(rules.vnodeCount)
    for (const key of keys.values.slice(0, keysShownMax)) {
      const { vnode, shard, pinned } = placeOfKey(topology, key, bits)
      rows.push(['vnode', `${vnode} on ${shard}${pinned ? ' (pinned key)' : ''}`])
      const move = moveOfKey(topology, key, vnode)
      if (move !== null)
        rows.push(['move', `${move.id}, ${move.from} to ${move.to}, ${move.phase}`])
    }
  }
  return rows
}

const keysShownMax = 20

function usesParam({ values }: KeySource): boolean {
  const scalars = values.kind === 'array' ? [values.array] : values.scalars
  return scalars.some(({ from }) => from.kind === 'param')
}

function predicate({ column, values }: KeySource, bindings: Bindings): string {
  if (values.kind === 'array') return `${column} = ANY(${scalarText(values.array, bindings)})`
  const texts = values.scalars.slice(0, keysShownMax).map((scalar) => scalarText(scalar, bindings))
  return texts.length === 1 ? `${column} = ${texts[0]}` : `${column} IN (${texts.join(', ')})`
}

function scalarText({ from }: Scalar, { literals }: Bindings): string {
  if (from.kind === 'param') return `$${from.param}`
  if (from.kind === 'null') return 'NULL'
  const { kind, raw } = from.kind === 'constant' ? from.constant : literals.at(from.index)
  const sign = from.kind === 'literal' && from.negative ? '-' : ''
  return kind === 'string' ? `'${utf8Of(raw).replaceAll("'", "''")}'` : `${sign}${raw}`
}

function errorRows(error: PgError): RouteRow[] {
  const rows: RouteRow[] = [
    ['error', error.message],
    ['sqlstate', error.sqlstate],
  ]
  if (error.hint !== undefined) rows.push(['hint', error.hint])
  return rows
}
