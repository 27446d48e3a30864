// Moves in words and figures, the same in tables, progress lines and dry runs.
import type { Move } from '../../catalog/move-store.ts'
import { formatVnodes } from '../../core/vnode-ranges.ts'

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const
const shownMax = 60

/** Such as `1.4 GiB`. */
export function formatBytes(bytes: number): string {
  let value = bytes
  let unit = 0
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit += 1
  }
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 1 : 0)} ${units[unit] ?? ''}`
}

/** Such as `42 s` or `3 min`. */
export function formatSeconds(ms: number): string {
  const seconds = ms / 1_000
  if (seconds < 120) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`
  const minutes = seconds / 60
  return minutes < 120 ? `${Math.round(minutes)} min` : `${(minutes / 60).toFixed(1)} h`
}

/** What is moved, such as `1024 virtual nodes (0-1023)`. */
export function describeSet({ set: { vnodes, keys } }: Pick<Move, 'set'>): string {
  const parts: string[] = []
  if (vnodes.length > 0) {
    const ranges = formatVnodes(vnodes)
    const shown = ranges.length > shownMax ? `${ranges.slice(0, shownMax)}…` : ranges
    parts.push(`${vnodes.length} virtual node${vnodes.length === 1 ? '' : 's'} (${shown})`)
  }
  if (keys.length > 0)
    parts.push(`key${keys.length === 1 ? '' : 's'} ${keys.join(', ').slice(0, shownMax)}`)
  return parts.join(', ')
}

/** Where a move stands, one line. */
export function describeState(move: Move, rate: number | null = null): string {
  const { state, progress, wish, error } = move
  const figures: string[] = []
  if (state === 'preparing' && progress.waitsFor) figures.push(`waits for ${progress.waitsFor}`)
  if (state === 'copying') {
    const { rowsCopied = 0, bytesCopied = 0, bytesTotal = 0 } = progress
    figures.push(
      `${rowsCopied} rows, ${formatBytes(bytesCopied)} of about ${formatBytes(bytesTotal)}`,
    )
    if (rate !== null && rate > 0) {
      figures.push(`${formatBytes(rate)}/s`)
      const left = Math.max(0, bytesTotal - bytesCopied) / rate
      if (left > 1) figures.push(`about ${formatSeconds(left * 1_000)} left`)
    }
  }
  if (state === 'verifying') figures.push('row for row')
  if (progress.rowsVerified !== undefined) figures.push(`${progress.rowsVerified} rows compared`)
  if (progress.heldMs !== undefined) figures.push(`switched in ${Math.round(progress.heldMs)} ms`)
  if ((progress.cutoverTries ?? 0) > 0)
    figures.push(`${progress.cutoverTries} tries to switch put off`)
  if (progress.rowsDeleted !== undefined) figures.push(`${progress.rowsDeleted} rows deleted`)
  if (wish !== null) figures.push(`${wish} asked for`)
  if (error !== null) figures.push(error)
  return [state.replaceAll('_', ' '), ...figures].join(', ')
}

/** For --json: everything that is known. */
export function moveJson(move: Move): Readonly<Record<string, unknown>> {
  const { set, createdAt, changedAt, ...rest } = move
  return { ...rest, vnodes: formatVnodes(set.vnodes), keys: set.keys, createdAt, changedAt }
}
