// serial, identity and nextval() defaults of sharded tables give numbers that are unique over all shards:
// ringfence.stride_sequences (catalog/migrations/shard/003-sequences.sql), called after DDL in its transaction.
import { escapeLiteral } from 'pg'
import type { ShardingRules } from '../router/schema.ts'

/**
 * SQL that strides the sequences of sharded tables on the shard that runs it: one row with the number changed,
 * 0 when all were. The shard knows its own ordinal, which is not its place in the configuration.
 */
export function strideSequencesSql(rules: ShardingRules): string {
  const keyed: string[] = []
  const others: string[] = []
  for (const [table, rule] of rules.tables) {
    // A key of its own makes a table sharded whether or not it has the default key column.
    if ('key' in rule) keyed.push(table)
    else others.push(table)
  }
  return (
    `SELECT ringfence.stride_sequences((SELECT ordinal FROM ringfence.local_shard), ` +
    `${escapeLiteral(rules.key)}, ${textArray(keyed)}, ${textArray(others)})`
  )
}

function textArray(values: readonly string[]): string {
  return `ARRAY[${values.map((value) => escapeLiteral(value)).join(', ')}]::text[]`
}
