// How one text would route, asked of the router itself over shards that need not exist. Values are looked at only to see
// whether there is one key or several: a parameter's value is not known.
import { PgError } from '../../core/errors.ts'
import type { KeySource } from '../../router/key-source.ts'
import type { Literals } from '../../router/literals.ts'
import type { Route } from '../../router/route.ts'
import type { Prepared, Router, RouterContext, Statement } from '../../router/router.ts'
import { readings } from './readings.ts'

/**
 * `depends`: one shard if all its keys are of one shard, else refused. `any shard`: no tables, or reference tables alone.
 * `unknown`: it names what the schema does not have, or is no SQL. `catalogs`: asks the system's tables alone.
 */
export const routeClasses = [
  'one shard',
  'any shard',
  'home shard',
  'few shards',
  'scatter',
  'all shards',
  'depends',
  'refused',
  'unknown',
  'catalogs',
  'session',
] as const
export type RouteClass = (typeof routeClasses)[number]

/** What would become of a statement. */
export type Judgement = {
  readonly class: RouteClass
  /** Why it is refused, may be, or is not known. */
  readonly reason: string | null
  /** What to do about it. */
  readonly hint: string | null
  readonly writes: boolean
}

/** One statement of a text, and what would become of it. */
export type Judged = { readonly sql: string; readonly judgement: Judgement }

/** All statements of `sql`. Throws nothing for a wrong one. */
export function judge(sql: string, router: Router, context: RouterContext): readonly Judged[] {
  let failure: unknown = null
  for (const text of readings(sql)) {
    try {
      const prepared = router.statements(Buffer.from(text), context)
      return prepared.statements.map((statement, index) => ({
        sql: prepared.statements.length === 1 ? sql : statement.sql,
        judgement: judgeStatement(router, prepared, index, context),
      }))
    } catch (thrown) {
      if (!(thrown instanceof PgError)) throw thrown
      failure ??= thrown
      if (thrown.sqlstate !== '42601') break
    }
  }
  const reason = failure instanceof PgError ? failure.message : null
  const hint = failure instanceof PgError ? (failure.hint ?? null) : null
  const broken = failure instanceof PgError && failure.sqlstate === '42601'
  return [
    { sql, judgement: { class: broken ? 'unknown' : 'refused', reason, hint, writes: false } },
  ]
}

function judgeStatement(
  router: Router,
  prepared: Prepared,
  index: number,
  context: RouterContext,
): Judgement {
  const statement = prepared.statements[index]
  if (statement === undefined) return { class: 'session', ...unremarkable }
  const { route } = statement
  const verdict = { ...unremarkable, writes: !statement.isReadOnly }
  if (route.kind === 'key') return { ...verdict, ...keyClass(route, prepared, statement, context) }
  if (route.kind === 'copyIn')
    return { ...verdict, class: 'depends', reason: copyReason, hint: copyHint }
  if (route.kind === 'refuse' && route.unresolved) {
    return { ...verdict, class: 'unknown', reason: route.error.message }
  }
  const plan = router.plan(prepared, index, null, context)
  if (plan.kind === 'refuse') return { ...verdict, ...refusal(plan.error) }
  return { ...verdict, class: classOf[route.kind === 'refuse' ? 'any' : route.kind] }
}

const unremarkable: Omit<Judgement, 'class'> = { reason: null, hint: null, writes: false }
const copyReason = 'COPY takes rows of one shard at a time'
const copyHint = 'Sort the rows by shard, or insert them by key.'

const classOf: Readonly<Record<Exclude<Route['kind'], 'key' | 'copyIn' | 'refuse'>, RouteClass>> = {
  any: 'any shard',
  reference: 'any shard',
  home: 'home shard',
  scatter: 'scatter',
  everywhere: 'all shards',
  session: 'session',
}

type KeyRoute = Extract<Route, { kind: 'key' }>
type Verdict = Pick<Judgement, 'class' | 'reason' | 'hint'>

function keyClass(
  route: KeyRoute,
  { literals }: Prepared,
  { command }: Statement,
  { rules }: RouterContext,
): Verdict {
  const whole = route.covers.filter(({ tables }) => tables === route.tables)
  if (whole.some(({ source }) => keysIn(source, literals) <= 1)) {
    return { class: 'one shard', reason: null, hint: null }
  }
  const key = rules?.key ?? 'the key'
  if (whole.length === 0) {
    const reason = `its tables are tied to different values of ${key}`
    const hint = `Tie them to each other: … AND a.${key} = b.${key}.`
    return { class: 'depends', reason, hint }
  }
  if (route.scatter.kind === 'rows') return { class: 'few shards', reason: null, hint: null }
  const { message, hint } = route.scatter.error
  if (command === 'insert') {
    const reason = 'rows of several shards in one INSERT are refused'
    return { class: 'depends', reason, hint: `Insert the rows of one ${key} at a time.` }
  }
  return { class: 'depends', reason: message, hint: hint ?? null }
}

/** Distinct values, as far as can be told; 2 for an array. */
function keysIn({ values }: KeySource, literals: Literals): number {
  if (values.kind === 'array') return 2
  const seen = values.scalars.map(({ from }) => {
    switch (from.kind) {
      case 'param':
        return `$${from.param}`
      case 'null':
        return 'null'
      case 'constant':
        return `=${from.constant.raw}`
      case 'literal':
        return `=${from.negative ? '-' : ''}${literals.at(from.index).raw}`
    }
  })
  return new Set(seen).size
}

function refusal({ message, hint }: PgError): Verdict {
  return { class: 'refused', reason: message, hint: hint ?? null }
}
