// Servers for tests of the mover, which take long: the first version of PostgreSQL as a rule, and all of them in the slow
// part (npm run test:slow).
import { inject } from 'vitest'
import type { TestServers } from './servers.ts'

/** At least one. */
export function moverServers(): readonly TestServers[] {
  const all = inject('servers')
  return process.env['RINGFENCE_SLOW'] === '1' ? all : all.slice(0, 1)
}
