// Everything that a new shard is given, in one transaction of its own and out of one snapshot of
// the home shard: it has all of it or nothing. Run only while no proxy writes to every shard.
import type { Client } from 'pg'
import { strideSequencesSql } from '../../catalog/sequences.ts'
import type { ShardId } from '../../core/ids.ts'
import type { ShardingRules } from '../../router/schema.ts'
import { openShard } from '../copy/connection.ts'
import { primaryUrl, type ShardAddress } from '../shard-address.ts'
import { JoinRefused } from './join-refused.ts'
import {
  compareReferenceRows,
  copyReferenceRows,
  readReferenceTables,
  type ReferenceTable,
} from './reference-rows.ts'
import { attempt, createParts, planSchema, readSchema } from './schema-ddl.ts'
import { carrySequences } from './sequence-values.ts'

export type CopyOptions = {
  readonly id: ShardId
  readonly home: ShardAddress
  readonly shard: ShardAddress
  readonly rules: ShardingRules
  /** What the shard is in the catalog. */
  readonly cluster: string
  readonly ordinal: number
  /** It has been this shard before: its sequences go on from where they were. */
  readonly returning: boolean
  readonly say: (line: string) => void
  readonly signal: AbortSignal
}

/** What was copied, and what was not. */
export type Copied = {
  readonly tables: readonly { readonly name: string; readonly rows: number }[]
  readonly notes: readonly string[]
}

/**
 * @throws JoinRefused for what cannot be made or has come out differently, else what pg throws; the
 * shard is as before then
 */
export async function copyToShard(options: CopyOptions): Promise<Copied> {
  const { home, shard, signal } = options
  await using source = await openShard(await primaryUrl(home), signal)
  await using target = await openShard(await primaryUrl(shard), signal)
  await source.client.query('BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY')
  await target.client.query('BEGIN')
  // Triggers and foreign keys that are there already are to be left alone. A login that may not say
  // so can do without where there are none.
  await attempt(target.client, 'SET LOCAL session_replication_role = replica')
  const copied = await copyInside(source.client, target.client, options)
  await target.client.query('COMMIT')
  return copied
}

async function copyInside(home: Client, target: Client, options: CopyOptions): Promise<Copied> {
  const { id, rules, cluster, ordinal, returning, say } = options
  const wanted = await readSchema(home)
  const plan = planSchema(wanted, await readSchema(target), id)
  if (plan.problems.length > 0) throw new JoinRefused(plan.problems)
  const delayed = await createParts(target, plan.before)
  const references = await readReferenceTables(home, rules)
  const tables = await copyRows(home, target, references, say)
  const rest = [...delayed.map(({ part }) => part), ...plan.after]
  const failed = await createParts(target, rest)
  if (failed.length > 0) {
    throw new JoinRefused(
      failed.map(({ part, reason }) => `${part.kind} ${part.name} on "${id}": ${reason}`),
    )
  }
  say(`made ${plan.before.length + plan.after.length} parts of the schema`)
  const rights = await createParts(target, plan.rights)
  for (const table of references) {
    const difference = await compareReferenceRows(home, target, table)
    if (difference !== null) throw new JoinRefused([difference])
  }
  if (!returning) await carrySequences(home, target)
  await target.query(
    `INSERT INTO ringfence.local_shard (cluster, id, ordinal) VALUES ($1, $2, $3)
     ON CONFLICT (only_one) DO UPDATE SET ordinal = excluded.ordinal`,
    [cluster, id, ordinal],
  )
  await target.query(strideSequencesSql(rules))
  const notes = rights.map(({ part, reason }) => `not done on "${id}": ${part.sql}: ${reason}`)
  return { tables, notes: [...notes, ...wanted.homeOnly.map((name) => `${name} stays at home`)] }
}

async function copyRows(
  home: Client,
  target: Client,
  references: readonly ReferenceTable[],
  say: (line: string) => void,
): Promise<Copied['tables']> {
  const tables: { name: string; rows: number }[] = []
  for (const table of references) {
    const rows = await copyReferenceRows(home, target, table)
    say(`copied ${rows} rows of ${table.name}`)
    tables.push({ name: table.name, rows })
  }
  return tables
}
