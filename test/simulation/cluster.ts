// All servers of a simulated run, and what everybody who talks to them needs.
import { assert } from '../../core/assert.ts'
import type { ShardId } from '../../core/ids.ts'
import type { Catalog } from './catalog.ts'
import type { Environment } from './environment.ts'
import type { Network } from './network.ts'
import type { Oracle } from './oracle.ts'
import type { Row } from './rows.ts'
import type { Shard } from './shard.ts'

export type Cluster = {
  readonly environment: Environment
  readonly network: Network
  readonly catalog: Catalog
  readonly shards: ReadonlyMap<ShardId, Shard>
  readonly rows: readonly Row[]
  readonly oracle: Oracle
}

/** @throws when it is none of the cluster's */
export function shardOf({ shards }: Cluster, id: ShardId): Shard {
  const shard = shards.get(id)
  assert(shard !== undefined, `shard ${id} is simulated`)
  return shard
}
