// What must be there when all moves have ended, and what must not.
import type { Cluster } from './cluster.ts'
import { show } from './oracle.ts'

/** Everything that is wrong, one sentence each. */
export function findLeftovers(cluster: Cluster): readonly string[] {
  return [...misplacedRows(cluster), ...objects(cluster), ...reservations(cluster)]
}

function misplacedRows({ rows, shards, catalog, oracle }: Cluster): readonly string[] {
  const found: string[] = []
  for (const row of rows) {
    const owner = catalog.ownerOf(row)
    const expected = oracle.now(row)
    for (const [id, shard] of shards) {
      const value = shard.rows.get(row) ?? null
      if (id === owner && value !== expected) {
        found.push(`${row.name} on ${id} is ${show(value)} instead of ${show(expected)}`)
      }
      if (id !== owner && value !== null) found.push(`${row.name} is on ${id}, it is of ${owner}`)
    }
  }
  return found
}

function objects({ shards }: Cluster): readonly string[] {
  const found: string[] = []
  for (const [id, { slots, fences, progress, widened }] of shards) {
    for (const slot of slots.keys()) found.push(`slot ${slot} is left on ${id}`)
    for (const move of fences.keys()) found.push(`the fence of move ${move} is left on ${id}`)
    for (const name of progress.keys()) found.push(`the position of ${name} is left on ${id}`)
    for (const move of widened) found.push(`identities of move ${move} are left wide on ${id}`)
  }
  return found
}

function reservations({ catalog }: Cluster): readonly string[] {
  const found = catalog.reservations.map((id) => `a virtual node is reserved for move ${id}`)
  if (catalog.topology.hidden.size > 0) found.push('rows are still hidden')
  return found
}
