// Names of prepared transactions: ringfence:<decider>:<transaction>[:<participant>]. The name says which shard
// holds the decision, so that recovery needs nothing but the servers (docs/architecture.md).
import { assert } from '../core/assert.ts'
import { shardId, type ShardId } from '../core/ids.ts'

/** What a gid says; `participant` is empty when the gid was made without one. */
export type Gid = {
  readonly decider: ShardId
  /** Key of the decider's ringfence.commit_record. */
  readonly id: string
  readonly participant: string
}

/** What every gid of ours starts with. */
export const gidPrefix = 'ringfence:'

/** PostgreSQL's own limit (GIDSIZE) with its closing zero. */
const gidBytesMax = 199

/**
 * Name of the part of transaction `id` that `participant` prepares. Gids are unique per server, not per database:
 * with the participant in it, two shards may be databases of one server.
 */
export function makeGid(decider: ShardId, id: string, participant?: ShardId): string {
  const parts = participant === undefined ? [decider, id] : [decider, id, participant]
  const gid = gidPrefix + parts.map(encodeURIComponent).join(':')
  assert(id !== '' && gid.length <= gidBytesMax, `gid ${gid} fits PostgreSQL's limit`)
  return gid
}

/** Parts of a gid that makeGid made; null for any other name. */
export function parseGid(gid: string): Gid | null {
  if (!gid.startsWith(gidPrefix)) return null
  try {
    const parts = gid.slice(gidPrefix.length).split(':').map(decodeURIComponent)
    const [decider = '', id = '', participant = ''] = parts
    if (decider === '' || id === '' || parts.length > 3) return null
    return { decider: shardId(decider), id, participant }
  } catch {
    // Somebody else's name with a stray "%".
    return null
  }
}
