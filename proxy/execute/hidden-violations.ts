// Constraints see the rows that a shard holds for another one: nothing can be put into a foreign
// key's own queries. A write that goes to every shard may fail on rows that are out of date or not
// owned, or rightly so; which of them, only the end of the move will tell.
import { type PgError, pgError } from '../../core/errors.ts'
import type { ShardId } from '../../core/ids.ts'
import { ServerError } from '../../pool/exchange.ts'
import type { Topology } from '../../router/topology.ts'
import { decodeErrorFields } from '../../wire/backend.ts'
import type { SessionState } from '../session-state.ts'

const integrityViolation = '23'

/**
 * What the client is told of an error of `shards`, met by what goes to every shard: itself, or
 * 55006 when a row of a sharded table violates a constraint where, by one of `topologies`, rows of
 * others lie.
 */
export function toldOfHidden(
  error: PgError,
  state: SessionState,
  shards: readonly ShardId[],
  topologies: readonly Topology[],
): PgError {
  if (!(error instanceof ServerError) || !error.sqlstate.startsWith(integrityViolation))
    return error
  const shard = shards.find((each) => topologies.some(({ hidden }) => hidden.has(each)))
  const fields = decodeErrorFields(error.frame)
  const relation = state.context().schema?.relations.get(`${fields.get('s')}.${fields.get('t')}`)
  if (shard === undefined || relation?.placement !== 'sharded') return error
  const detail = [error.message, error.detail].filter((text) => text !== undefined).join(': ')
  return pgError('hiddenRowsRestrict', [shard], { cause: error, detail })
}
