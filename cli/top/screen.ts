// A sample as text, fitted into a terminal's lines and columns.
import { renderTable } from '../table.ts'
import type { TopSample } from './sample.ts'

/** Null: no limit, as in a file. */
export type ScreenSize = { readonly columns: number; readonly rows: number } | null

/** A line, and the escape codes around it where there are colours. */
type Line = { readonly text: string; readonly look: 'plain' | 'bold' | 'red' }

/** Ends with a line feed. */
export function screenText(sample: TopSample, size: ScreenSize, colours: boolean): string {
  const all = linesOf(sample)
  const lines = size === null ? all : all.slice(0, size.rows - 1)
  const texts = lines.map(({ text, look }) => {
    const shown = size === null ? text : text.slice(0, size.columns)
    return colours ? `${looks[look][0]}${shown}${looks[look][1]}` : shown
  })
  return `${texts.join('\n')}\n`
}

const looks: Readonly<Record<Line['look'], readonly [string, string]>> = {
  plain: ['', ''],
  bold: ['\u001b[1m', '\u001b[22m'],
  red: ['\u001b[31m', '\u001b[39m'],
}

function linesOf(sample: TopSample): readonly Line[] {
  const { database, epoch, at, proxies, catalogError, shards, replicas, moves, vnodes, keys } =
    sample
  const clients = proxies.reduce((sum, proxy) => sum + proxy.clients, 0)
  const down = proxies.filter(({ error }) => error !== null)
  const up = `${proxies.length - down.length} of ${proxies.length} proxies`
  const shownEpoch = epoch === null ? '' : `, epoch ${epoch}`
  const problems = down.map(({ proxy, error }) => `${proxy}: ${error}`)
  if (catalogError !== null) problems.push(`catalog: ${catalogError}`)
  const moveRows = moves.map(({ id, from, to, what, state }) => [`${id}`, from, to, what, state])
  return [
    { text: `${database}${shownEpoch}: ${clients} clients on ${up}, ${at}`, look: 'bold' },
    ...problems.map((text): Line => ({ text, look: 'red' })),
    ...section(shardHead, shards.map(shardCells)),
    ...section(replicaHead, replicas.map(replicaCells)),
    ...section(moveHead, moveRows),
    ...section(
      vnodeHead,
      vnodes.map((each) => [`${each.vnode}`, each.shard, ...rates(each)]),
    ),
    ...section(
      keyHead,
      keys.map((each) => [each.key, each.shard, ...rates(each)]),
    ),
  ]
}

const shardHead = [
  'shard',
  'primary',
  'vnodes',
  'idle',
  'active',
  'opening',
  'waiting',
  'riding',
  'stmts/s',
  'server ms/s',
  '',
]
const replicaHead = ['replica', 'of', 'state', 'lag ms', 'lag kB', 'reads']
const moveHead = ['move', 'from', 'to', 'what', 'state']
const vnodeHead = ['hottest vnode', 'shard', 'stmts/s', 'server ms/s']
const keyHead = ['hottest key', 'shard', 'stmts/s', 'server ms/s']

function section(head: readonly string[], rows: readonly (readonly string[])[]): readonly Line[] {
  if (rows.length === 0) return []
  const lines = renderTable(head, rows).trimEnd().split('\n')
  return [
    { text: '', look: 'plain' },
    ...lines.map((text, at): Line => ({ text, look: at === 0 ? 'bold' : 'plain' })),
  ]
}

function shardCells(line: TopSample['shards'][number]): string[] {
  const { shard, host, vnodes, idle, active, opening, waiting, riding, paused } = line
  const counts = [vnodes, idle, active, opening, waiting, riding].map(String)
  return [shard, host ?? 'none', ...counts, ...rates(line), paused ? 'paused' : '']
}

function replicaCells({
  host,
  shard,
  state,
  lagMs,
  lagBytes,
  reads,
}: TopSample['replicas'][number]) {
  const lagKb = lagBytes === null ? '' : `${Math.ceil(lagBytes / 1024)}`
  return [host, shard, state, lagMs === null ? '' : `${lagMs}`, lagKb, `${reads}`]
}

function rates(line: {
  readonly statements: number | null
  readonly serverMs: number | null
}): string[] {
  return [line.statements, line.serverMs].map((rate) => (rate === null ? '' : rate.toFixed(1)))
}
