// A table of the admin console: what one process knows, and how the rows of several workers become one answer. Columns
// are PgBouncer 1.25's where it has the command, in its order and with its types; ours come behind them and are shown under the
// database name "ringfence" alone, so that what was made for PgBouncer sees what it knows.
import type { Cell, Rows, Snapshot } from '../fleet.ts'

/** As in RowDescription; `int4` also where a number may be larger in text. */
export type ColumnType = 'text' | 'int4' | 'int8' | 'numeric'

export type Column = { readonly name: string; readonly type: ColumnType }

export type View = {
  readonly columns: readonly Column[]
  /** Behind `columns`, for those who know what this proxy is. */
  readonly own: readonly Column[]
  /** What this process knows; cells of `columns` and `own`, unless `gather` makes them. */
  readonly local: () => Rows
  /** Answers of all workers as one. */
  readonly gather: (snapshots: readonly Snapshot[]) => Rows
}

/** Columns of a spec such as `database user cl_active:int4`; without a type they are text. */
export function columnsOf(spec: string): readonly Column[] {
  return spec
    .trim()
    .split(/\s+/)
    .filter((word) => word !== '')
    .map((word) => {
      const [name = '', type = 'text'] = word.split(':')
      return { name, type: typeOf(type) }
    })
}

/** Every worker's rows, one after the other; the last of our columns says whose they are. */
export function eachWorker(columns: string, own: string, local: () => Rows): View {
  return {
    columns: columnsOf(columns),
    own: columnsOf(`${own} worker:int4`),
    local,
    gather: (snapshots) =>
      snapshots.flatMap(({ worker, rows }) => rows.map((row) => [...row, worker])),
  }
}

/** The same in every worker: the first one's rows. */
export function anyWorker(columns: string, own: string, local: () => Rows): View {
  return {
    columns: columnsOf(columns),
    own: columnsOf(own),
    local,
    gather: ([first]) => first?.rows ?? [],
  }
}

/** How a column of several workers' rows becomes one value. */
type Rule = 'sum' | 'max' | 'same'

/**
 * Rows of the same name are added up. `by` leading columns are the name; numbers are summed, but the columns under
 * `rules`; of texts the first counts.
 */
export function summed(
  columns: string,
  own: string,
  by: number,
  local: () => Rows,
  rules: Readonly<Record<string, Rule>> = {},
): View {
  const names = [...columnsOf(columns), ...columnsOf(own)].map(({ name }) => name)
  const ruleOf = names.map((name) => rules[name] ?? 'sum')
  return {
    columns: columnsOf(columns),
    own: columnsOf(own),
    local,
    gather: (snapshots) => {
      const sums = new Map<string, Cell[]>()
      for (const row of snapshots.flatMap(({ rows }) => rows)) {
        const name = JSON.stringify(row.slice(0, by))
        const known = sums.get(name)
        if (known === undefined) sums.set(name, [...row])
        else
          for (let at = by; at < row.length; at += 1)
            known[at] = merged(known[at], row[at], ruleOf[at])
      }
      return [...sums.values()]
    },
  }
}

function merged(a: Cell | undefined, b: Cell | undefined, rule: Rule = 'sum'): Cell {
  if (typeof a !== 'number' || typeof b !== 'number' || rule === 'same') return a ?? b ?? null
  return rule === 'max' ? Math.max(a, b) : a + b
}

function typeOf(word: string): ColumnType {
  return word === 'int4' || word === 'int8' || word === 'numeric' ? word : 'text'
}
