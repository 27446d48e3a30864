// What a lost connection looks like to the runner of a move: something to wait for, never a reason to abort.
import { afterEach, describe, expect, it } from 'vitest'
import { moverServers } from '../support/mover-servers.ts'
import { systemClock } from '../../core/clock.ts'
import { waitUntil } from '../../demo/process.ts'
import { isTransient } from '../../rebalancer/failure.ts'
import { unlimited } from '../../rebalancer/throttle-verdict.ts'
import { Throttle } from '../../rebalancer/throttle.ts'
import { askServer } from '../support/clients.ts'
import { all, copyNow, type MoveFixture, openMove } from './copy-fixture.ts'

let fixture: MoveFixture
afterEach(async () => await fixture.close())

const setupSql = `
  CREATE TABLE large (tenant_id bigint, id bigint, note text, PRIMARY KEY (tenant_id, id))`
const rowsSql = `
  INSERT INTO large SELECT g % 500, g, repeat('x', 500) FROM generate_series(1, 50000) g`
/** A slot is not made before every transaction of its server has ended, those of other tests, too. */
const deadlineMs = 60_000
/** Ten seconds and more for all of it: more than the sockets between could hold. */
const slow = new Throttle({ ...unlimited, bytesPerSecondMax: 2_000_000 }, systemClock)
/** COPY's sessions; of the claim, which waits in between; and all together. */
const victims = {
  copying: `query LIKE 'COPY %'`,
  claiming: `query LIKE '%pg_advisory_unlock%'`,
  all: `application_name LIKE 'ringfence%'`,
} as const

describe.each(moverServers())('a copy on PostgreSQL $version', { timeout: 90_000 }, (servers) => {
  it.each([
    ['copying', 'source'],
    ['copying', 'target'],
    ['claiming', 'target'],
    ['all', 'source'],
    ['all', 'target'],
  ] as const)('whose sessions (%s) on the %s are killed may be tried again', async (who, side) => {
    fixture = await openMove(servers, servers)
    await fixture.both(setupSql)
    await fixture.source.client.query(rowsSql)
    const table = await fixture.table('public.large')
    const kill = `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                  WHERE datname = current_database() AND pid <> pg_backend_pid() AND ${victims[who]}`
    const copying = copyNow(fixture, table, { set: all, throttle: slow }).then(
      () => null,
      (error: Error) => error,
    )
    const isUnderWay = async () => {
      const under = `SELECT count(*) FROM pg_stat_activity
                     WHERE datname = current_database() AND query LIKE 'COPY %' AND state <> 'idle'`
      return (await askServer(fixture[side].url, under))[0] !== '0'
    }
    expect(await waitUntil(isUnderWay, deadlineMs)).toBe(true)
    const [killed] = await askServer(fixture[side].url, kill)
    expect(Number(killed)).toBeGreaterThan(0)
    const failure = await copying
    expect(failure).not.toBe(null)
    expect(isTransient(failure) ? 'transient' : failure?.message).toBe('transient')
  })
})
