// One thing that is wrong with settings that are fine alone, see contradictions.ts.
import type { Complaint } from './problems.ts'
import type { Path } from './setting.ts'

/** A complaint that holds only if the values at `about` (and at its own path) are the file's own. */
export type Contradiction = Complaint & {
  readonly about: readonly Path[]
  readonly severity: 'error' | 'warning'
}

/** Breaks the file. */
export function error(
  path: Path,
  message: string,
  remedy: string,
  about: readonly Path[] = [],
): Contradiction {
  return { severity: 'error', path, message, remedy, about: [path, ...about] }
}

/** Is told, and the file taken all the same. */
export function warning(...args: Parameters<typeof error>): Contradiction {
  return { ...error(...args), severity: 'warning' }
}
