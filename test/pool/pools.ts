// What tests of pools over outages have in common: pools that are closed after each test, and statements that
// wait in them.
import { systemClock } from '../../core/clock.ts'
import type { PgError } from '../../core/errors.ts'
import { shardId } from '../../core/ids.ts'
import { createLog } from '../../core/log.ts'
import type { PostgresServer } from '../../demo/postgres-server.ts'
import { superuser } from '../../demo/roles.ts'
import { ask } from '../../pool/exchange.ts'
import { FlushTurn } from '../../pool/outbox.ts'
import { leaseOnce } from '../../pool/lease-once.ts'
import { Pool } from '../../pool/pool.ts'
import { type PoolOptions, usualLimits } from '../../pool/pool-options.ts'
import type { ServerConnection, ServerTarget } from '../../pool/server-connection.ts'
import { SettingsProfile } from '../../pool/settings-profile.ts'
import { present } from '../support/clients.ts'

/** Of all pools here. */
export const connectTimeoutMs = 2_000

const open: Pool[] = []

/** Ends the connections of what `poolTo` made. */
export function closePools(): void {
  for (const pool of open.splice(0)) {
    for (const server of Array.from(pool.connections)) server.close('the test is over')
  }
}

/** The superuser's way to `to`. */
export function target(to: PostgresServer, change: Partial<ServerTarget> = {}): ServerTarget {
  const { port, password } = to
  const login = { user: superuser, password, database: 'postgres' }
  return { shard: shardId('s1'), role: 'primary', host: '127.0.0.1', port, ...login, ...change }
}

/** A pool of one connection, if `options` do not say otherwise. */
export function poolTo(to: ServerTarget | null, options: Partial<PoolOptions> = {}): Pool {
  const pool = new Pool(
    {
      shard: shardId('s1'),
      user: superuser,
      dial: {
        turn: new FlushTurn(),
        readBuffer: Buffer.alloc(64 * 1024),
        clock: systemClock,
        connectTimeoutMs,
        wholeBytesMax: 1024 * 1024,
      },
      clock: systemClock,
      log: createLog('silent'),
      ...usualLimits,
      random: Math.random,
      forced: false,
      budgets: [],
      size: 1,
      waitersMax: 100,
      queryWaitTimeoutMs: 20_000,
      serverLifetimeMs: 0,
      serverIdleTimeoutMs: 600_000,
      outageWaitMs: 10_000,
      admit: null,
      suspect: () => undefined,
      ...options,
    },
    to,
  )
  open.push(pool)
  return pool
}

/** A server of the pool, at once or later. */
export function lease(pool: Pool): Promise<ServerConnection> {
  return leaseOnce(pool, SettingsProfile.empty)
}

/** Why no server can be had. Throws when one can. */
export async function refused(pool: Pool): Promise<PgError> {
  return lease(pool).then(
    () => {
      throw new Error('a server was lent, though none was expected')
    },
    (error: PgError) => error,
  )
}

/** Port of the server that answers the next statement. */
export async function portOfNext(pool: Pool): Promise<number> {
  const server = await lease(pool)
  const { rows } = await ask(server, 'SHOW port')
  pool.release(server)
  return Number(present(rows[0])[0])
}

/** `count` statements in the queue; resolves with the order in which they were served. */
export function queue(pool: Pool, count: number): Promise<readonly number[]> {
  const served: number[] = []
  const all = inOrder(count).map(async (at) => {
    const server = await lease(pool)
    served.push(at)
    await ask(server, 'SELECT 1')
    pool.release(server)
  })
  return Promise.all(all).then(() => served)
}

/** The numbers from 0 on. */
export function inOrder(count: number): readonly number[] {
  return Array.from({ length: count }, (_, at) => at)
}

/** How long `what` takes. */
export async function elapsedMs(what: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now()
  await what()
  return performance.now() - startMs
}
