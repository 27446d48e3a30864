// What differs on purpose between plain PostgreSQL and Ringfence, one file per test: `known/<suite>/<test>.diff`, first the
// reason in lines that begin with "#", then the very lines of the difference. Any other difference is a bug. With a line
// "#varies" they may be any of these lines, with other numbers: for what depends on time.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export type Known = {
  readonly reason: string
  readonly lines: string
  readonly varies: boolean
}

const varies = '#varies'

const root = fileURLToPath(new URL('known', import.meta.url))

/** By test. Empty when the suite has none. */
export function knownDifferences(suite: string): ReadonlyMap<string, Known> {
  const folder = join(root, suite)
  const known = new Map<string, Known>()
  for (const file of filesOf(folder)) {
    const lines = readFileSync(join(folder, file), 'utf8').split('\n')
    const isReason = (line: string) => line.startsWith('#') && line !== varies
    const reason = lines.filter(isReason).map((line) => line.slice(1).trim())
    if (reason.length === 0) throw new Error(`"${file}" gives no reason`)
    const rest = lines.filter((line) => !line.startsWith('#')).join('\n')
    known.set(basename(file, '.diff'), {
      reason: reason.join(' '),
      lines: rest.trim(),
      varies: lines.includes(varies),
    })
  }
  return known
}

/** Whether `difference` is the one that is listed. */
export function explains(known: Known | undefined, difference: string): boolean {
  if (known?.varies !== true) return known?.lines === difference
  const listed = new Set(known.lines.split('\n').map(withoutNumbers))
  return difference.split('\n').every((line) => listed.has(withoutNumbers(line)))
}

function withoutNumbers(line: string): string {
  return line.replaceAll(/ *\d+/g, 'N').trimEnd()
}

function filesOf(folder: string): string[] {
  try {
    return readdirSync(folder).filter((file) => file.endsWith('.diff'))
  } catch {
    return []
  }
}

/** Lines that only one of the two has, in order, after "-" and "+"; '' when they are the same. */
export function differenceOf(direct: string, proxied: string): string {
  if (direct === proxied) return ''
  const dir = mkdtempSync(join(tmpdir(), 'rf-diff-'))
  try {
    writeFileSync(join(dir, 'direct'), comparable(direct), 'latin1')
    writeFileSync(join(dir, 'proxy'), comparable(proxied), 'latin1')
    const { stdout } = spawnSync('diff', ['-U0', 'direct', 'proxy'], { cwd: dir, encoding: 'utf8' })
    const lines = stdout.split('\n').filter((line) => !/^(?:---|\+\+\+|@@|\\)/.test(line))
    return lines.join('\n').trim()
  } finally {
    rmSync(dir, { recursive: true })
  }
}

/** Process ids are never the same. */
function comparable(text: string): string {
  return text.replaceAll(/\bPID \d+/g, 'PID N')
}
