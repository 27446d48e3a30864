// Proxies that route by the catalog, and what each has understood of it. A proxy registers before it reads the topology
// for the first time, so that whoever publishes a change and looks at the list afterwards misses none.
import type { Client } from 'pg'
import { epoch, type Epoch } from '../core/ids.ts'

/** A proxy process. */
export type ProxyIdentity = {
  /** The same after a restart, if its address is. */
  readonly id: string
  /** uuid of the process. */
  readonly incarnation: string
  readonly address: string
  readonly version: string
}

/** How long a proxy goes on with virtual nodes on the move after the last heartbeat that it knows to be written. */
export const leaseMs = 5_000
/** A silent proxy counts as having stopped that: clocks of two machines may run at different rates. */
export const silentMs = leaseMs + 1_000

/**
 * Registers the proxy. A row of the same id that is still fresh may be another proxy's by mistake: until it has fallen
 * silent, this one goes by a name of its own.
 */
export async function registerProxy(client: Client, self: ProxyIdentity): Promise<string> {
  const { rows } = await client.query<{ id: string }>(
    `INSERT INTO ringfence.proxy AS p (id, incarnation, address, version)
     VALUES ($1, $2, $3, $4)
     ON CONFLICT (id) DO UPDATE
       SET incarnation = excluded.incarnation, address = excluded.address, version = excluded.version,
           epoch_seen = 0, heartbeat = clock_timestamp(), started_at = clock_timestamp()
       WHERE p.incarnation = excluded.incarnation
          OR p.heartbeat < clock_timestamp() - $5 * interval '1 ms'
     RETURNING id`,
    [self.id, self.incarnation, self.address, self.version, silentMs],
  )
  if (rows[0] !== undefined) return self.id
  const own = `${self.id}/${self.incarnation.slice(0, 8)}`
  await client.query(
    `INSERT INTO ringfence.proxy (id, incarnation, address, version) VALUES ($1, $2, $3, $4)
     ON CONFLICT (id) DO NOTHING`,
    [own, self.incarnation, self.address, self.version],
  )
  return own
}

/**
 * Says that the proxy lives, and that nothing it runs is older than `seen`. Silent rows of its address go: whoever listens
 * there now has outlived them. Gives the epoch in force; null when the
 * proxy is not on the list any more and has to register again.
 */
export async function beat(
  client: Client,
  self: ProxyIdentity,
  name: string,
  seen: Epoch,
): Promise<Epoch | null> {
  const { rows } = await client.query<{ epoch: string }>(
    `WITH beaten AS (
       UPDATE ringfence.proxy SET heartbeat = clock_timestamp(), epoch_seen = $3
       WHERE id = $1 AND incarnation = $2 RETURNING id),
     former AS (
       DELETE FROM ringfence.proxy
       WHERE (id = $4 OR starts_with(id, $4 || '/')) AND incarnation <> $2
         AND heartbeat < clock_timestamp() - $5 * interval '1 ms')
     SELECT epoch FROM ringfence.topology, beaten`,
    [name, self.incarnation, seen, self.id, silentMs],
  )
  const row = rows[0]
  return row === undefined ? null : epoch(Number(row.epoch))
}

/** Takes a proxy that stops off the list. */
export async function unregisterProxy(
  client: Client,
  self: ProxyIdentity,
  name: string,
): Promise<void> {
  await client.query('DELETE FROM ringfence.proxy WHERE id = $1 AND incarnation = $2', [
    name,
    self.incarnation,
  ])
}

/** A proxy as the list has it. */
export type RegisteredProxy = {
  readonly id: string
  readonly address: string
  readonly version: string
  readonly epochSeen: Epoch
  /** Since its last heartbeat, by the catalog's clock. */
  readonly silentMs: number
}

type Row = { id: string; address: string; version: string; epoch_seen: string; silent_ms: number }

/** All registered proxies. */
export async function listProxies(client: Client): Promise<readonly RegisteredProxy[]> {
  const { rows } = await client.query<Row>(
    `SELECT id, address, version, epoch_seen,
            (extract(epoch FROM clock_timestamp() - heartbeat) * 1000)::float8 AS silent_ms
     FROM ringfence.proxy ORDER BY id`,
  )
  return rows.map((row) => ({
    id: row.id,
    address: row.address,
    version: row.version,
    epochSeen: epoch(Number(row.epoch_seen)),
    silentMs: row.silent_ms,
  }))
}

/** Takes a proxy off the list that is gone for good. False when it is not on it, or alive. */
export async function forgetProxy(client: Client, id: string): Promise<boolean> {
  const { rowCount } = await client.query(
    `DELETE FROM ringfence.proxy
     WHERE id = $1 AND heartbeat < clock_timestamp() - $2 * interval '1 ms'`,
    [id, silentMs],
  )
  return rowCount === 1
}
