// FunctionCall names its function by a number: nothing tells what such a function leaves in its session, but for those of large
// objects, which drivers call this way. Whoever calls another one keeps its server.
import { pgError } from '../core/errors.ts'
import { noTraces } from '../router/traces.ts'
import { decodeFunctionCall } from '../wire/frontend.ts'
import type { SessionState } from './session-state.ts'
import type { Effect } from './statements.ts'

/** `lo_…`, `loread` and `lowrite` of pg_proc.dat, where their numbers are fixed. */
const ofLargeObjects: ReadonlySet<number> = new Set([
  715, 764, 765, 767, 952, 953, 954, 955, 956, 957, 958, 964, 1004, 3170, 3171, 3172, 3457, 3458,
  3459, 3460,
])

const unknown: Effect = {
  command: null,
  sql: '',
  params: null,
  pin: 'session state',
  look: 'settings',
  traces: { ...noTraces, opaque: true },
  ddl: false,
  writes: true,
}

/** What a FunctionCall leaves behind. @throws PgError 0A000 where clients may not keep servers; 08P01 */
export function effectsOfCall(frame: Uint8Array, state: SessionState): readonly Effect[] {
  if (ofLargeObjects.has(decodeFunctionCall(frame).oid)) return []
  const { leases, database } = state
  if (database.options.pin === 'refuse' && !leases.keeps) {
    throw pgError('pinRefused', ['session state'])
  }
  return [unknown]
}
