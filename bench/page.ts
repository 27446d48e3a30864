// The part of docs/performance.md that holds figures: written from files of results, between two
// marks, so that no figure is ever typed by hand.
import { readFile, writeFile } from 'node:fs/promises'
import { renderMachine } from './machine.ts'
import { idleCells, remarks, rowCells, type RowResult } from './report.ts'
import type { Results } from './results-file.ts'
import { judge, verdictCells } from './targets.ts'

const beginMark = '<!-- results: npm run bench -- --page -->'
const endMark = '<!-- end of results -->'

/** Puts the results into the page. Throws when the page has no place for them. */
export async function writePage(page: string, runs: readonly Results[]): Promise<void> {
  await writeFile(page, placed(await readFile(page, 'utf8'), renderPage(runs)))
}

/** The page's text with `figures` in place of what stood between the marks. Throws without marks. */
export function placed(text: string, figures: string): string {
  const [begin, end] = [text.indexOf(beginMark), text.indexOf(endMark)]
  if (begin < 0 || end < begin) throw new Error(`the page has no "${beginMark}" or no "${endMark}"`)
  return `${text.slice(0, begin + beginMark.length)}\n\n${figures}\n${text.slice(end)}`
}

/** Markdown of several runs; a row that several of them have comes from the last of these. */
export function renderPage(runs: readonly Results[]): string {
  const rows = new Map<string, RowResult>()
  for (const row of runs.flatMap((run) => run.rows)) rows.set(row.name, row)
  const idle = runs.findLast((run) => run.idle.length > 0)?.idle ?? []
  const shown = [...rows.values()]
  const parts = [runs.map(renderRun).join('\n')]
  const verdicts = judge(shown, idle)
  if (verdicts.length > 0) parts.push(`### Targets\n\n${markdownTable(verdictCells(verdicts))}`)
  if (shown.length > 0) parts.push(`### All rows\n\n${markdownTable(rowCells(shown))}`)
  const said = remarks(shown).map((line) => `- ${cell(line)}\n`)
  if (said.length > 0) parts.push(said.join(''))
  if (idle.length > 0) parts.push(`### Idle clients\n\n${markdownTable(idleCells(idle))}`)
  return parts.join('\n')
}

function renderRun({ startedAt, machine, rounds, seconds }: Results): string {
  const commit = machine.commit === null ? '' : `, commit ${machine.commit}`
  const when = `${startedAt.slice(0, 16).replace('T', ' ')} UTC`
  // Of every row and peer.
  const how = `${when}${commit}: ${rounds} × ${seconds} s, load ${machine.load1.toFixed(1)} before it`
  const lines = renderMachine(machine).trimEnd().split('\n')
  return [how, ...lines].map((line) => `${line}  \n`).join('')
}

function markdownTable([heads, ...lines]: readonly (readonly string[])[]): string {
  if (heads === undefined) return ''
  const rule = heads.map((_, column) => (column < 2 ? '---' : '--:'))
  return [heads, rule, ...lines].map((cells) => `| ${cells.map(cell).join(' | ')} |\n`).join('')
}

/** An error message may hold anything. */
const cell = (text: string) => text.replaceAll('|', '\\|').replaceAll('\n', ' ')
