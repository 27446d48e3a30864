// Arguments of statements that change session state: written there, or bound.
import type { ScalarSource } from '../router/plan.ts'
import type { BoundParams } from '../router/router.ts'

/** Text of an argument, whether written in the statement or bound. */
export function scalar(source: ScalarSource, params: BoundParams | null): string | null {
  if ('constant' in source) return source.constant
  const value = params?.values[source.param - 1]
  if (value === undefined || value === null) return null
  const format =
    params?.formats.length === 1 ? params.formats[0] : params?.formats[source.param - 1]
  // Booleans are the one argument type whose binary form is not its text.
  if (format === 1 && value.length === 1 && (value[0] ?? 2) < 2) return value[0] === 1 ? 't' : 'f'
  return Buffer.from(value).toString()
}
