// The advice as people read it: sums, what to write into the configuration, and the statements that need work.
import { renderTable } from '../table.ts'
import { counted } from './counted.ts'
import type { Judgement, RouteClass } from './judge.ts'
import type { TableAdvice } from './table-advice.ts'
import type { ClassSum } from './tally.ts'

type Share = { readonly share: number; readonly timeShare: number }
type Statement = Judgement & {
  readonly sql: string
  /** With the advice for the tables. */
  readonly advisedClass: RouteClass
  readonly calls: number
  readonly timeMs: number | null
}

/** What `--json` prints. */
export type AdviceReport = {
  readonly key: string
  readonly keyType: string
  /** Tables that have the key. */
  readonly sharded: number
  /** Of statements whose route says something. */
  readonly calls: number
  readonly timed: boolean
  readonly classes: readonly ClassSum[]
  readonly onOneShard: Share
  readonly tables: readonly TableAdvice[]
  /** The same with what is advised for the tables; null when nothing is. */
  readonly advised: { readonly classes: readonly ClassSum[]; readonly onOneShard: Share } | null
  /** What takes most first. */
  readonly statements: readonly Statement[]
}

/** Prints `top` statements of each class that needs work. */
export function printReport(report: AdviceReport, top: number, out: (text: string) => void): void {
  const { key, keyType, sharded, timed, classes, onOneShard, advised, tables } = report
  out(`shard key ${key} (${keyType}): ${sharded} tables have it\n`)
  out(`on one shard: ${shareText(onOneShard, timed)}`)
  out(
    advised === null
      ? '\n\n'
      : `; with the advice below: ${shareText(advised.onOneShard, timed)}\n\n`,
  )
  const head = ['route', 'statements', 'calls', 'share', ...(timed ? ['time', 'share'] : []), '']
  const rows = classes.map((sum) => [...sumCells(sum, timed), meanings[sum.class]])
  out(renderTable(head, rows))
  if (tables.length > 0) {
    out('\nTables without the key:\n')
    const cells = tables.map(({ table, kind, calls, writes, why }) => {
      return [table, advices[kind], `${calls}`, `${writes}`, why]
    })
    out(renderTable(['table', 'advice', 'calls', 'writes', 'why'], cells))
  }
  out(rulesText(report))
  for (const needy of ['refused', 'depends', 'scatter', 'unknown'] as const) {
    printStatements(report, needy, top, out)
  }
  out(
    '\nTransactions that write to several shards are refused as well; they are not looked at here.\n',
  )
}

function printStatements(
  { statements }: AdviceReport,
  needy: RouteClass,
  top: number,
  out: (text: string) => void,
): void {
  const all = statements.filter((statement) => statement.class === needy)
  if (all.length === 0) return
  const found = all.filter(({ advisedClass }) => advisedClass === needy)
  const more = found.length > top ? `, the first ${top}` : ''
  out(`\n${titles.get(needy) ?? needy} (${found.length}${more}):\n`)
  for (const { sql, calls, timeMs, reason, hint } of found.slice(0, top)) {
    const time = timeMs === null ? '' : `, ${timeText(timeMs)}`
    out(
      `  ${shortened(sql)}\n    ${counted(calls, 'call')}${time}${reason === null ? '' : `; ${reason}`}\n`,
    )
    if (hint !== null) out(`    ${hint}\n`)
  }
  const solved = all.length - found.length
  if (solved > 0) out(`  and ${counted(solved, 'statement')} that the advice above changes\n`)
}

/** Ready to be put into ringfence.yaml. */
function rulesText({ key, keyType, tables }: AdviceReport): string {
  const lines = tables.flatMap(({ table, kind, column }) => {
    const name = table.startsWith('public.') ? table.slice('public.'.length) : table
    if (kind === 'reference') return [`    ${JSON.stringify(name)}: { placement: reference }`]
    if (kind !== 'own key' || column === null) return []
    return [`    ${JSON.stringify(name)}: { key: ${JSON.stringify(column)} }`]
  })
  const head = `\nsharding:\n  key: ${JSON.stringify(key)}\n  key_type: ${keyType}\n`
  return lines.length === 0 ? head : `${head}  tables:\n${lines.join('\n')}\n`
}

function sumCells(
  { class: name, distinct, calls, share, timeMs, timeShare }: ClassSum,
  timed: boolean,
) {
  const time = timed ? [timeText(timeMs), percent(timeShare)] : []
  return [name, `${distinct}`, `${calls}`, percent(share), ...time]
}

function shareText({ share, timeShare }: Share, timed: boolean): string {
  return timed
    ? `${percent(share)} of calls, ${percent(timeShare)} of time`
    : `${percent(share)} of calls`
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`
}

function timeText(ms: number): string {
  return ms < 10_000 ? `${ms.toFixed(ms < 100 ? 1 : 0)} ms` : `${(ms / 1_000).toFixed(0)} s`
}

function shortened(text: string): string {
  return text.length > 160 ? `${text.slice(0, 159)}…` : text
}

const titles = new Map<RouteClass, string>([
  ['refused', 'Refused'],
  ['depends', 'One shard or refused, depending on the values'],
  ['scatter', 'Asked of every shard'],
  ['unknown', 'Not known: no such table here, or not the SQL that PostgreSQL 18 takes'],
])

const meanings: Readonly<Record<RouteClass, string>> = {
  'one shard': 'tied to one key',
  'any shard': 'reference tables, or no table',
  'home shard': 'tables without the key',
  'few shards': 'the owners of a list of keys',
  scatter: 'a read of every shard',
  'all shards': 'definitions and writes of reference tables',
  depends: 'one shard if all keys are of one, else refused',
  refused: 'an error',
  unknown: 'not judged',
  catalogs: 'not judged: questions to the system catalogs',
  session: 'not judged: BEGIN, SET, …',
}

const advices: Readonly<Record<TableAdvice['kind'], string>> = {
  'own key': 'shard by its own key',
  reference: 'make it a reference table',
  'add key': 'add the key column',
  home: 'leave it on the home shard',
  look: 'look at it',
}
