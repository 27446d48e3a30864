// Servers for tests of the mover, which take long: the first version of PostgreSQL as a rule, and all of them with
// RINGFENCE_TEST_MOVES=all (npm run test:versions).
import { inject } from 'vitest'
import type { TestServers } from './servers.ts'

/** At least one. */
export function moverServers(): readonly TestServers[] {
  const all = inject('servers')
  return process.env['RINGFENCE_TEST_MOVES'] === 'all' ? all : all.slice(0, 1)
}
