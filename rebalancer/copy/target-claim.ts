// Keeps two runners from copying the same rows into one shard: a runner that was killed may have a
// last part on its way to the target, which would be committed after its successor has deleted what
// was there. Advisory locks of the target's sessions tell: all workers share one, and who begins
// waits until it has it alone.
import type { Client } from 'pg'
import { movedSetSql } from '../../router/moved-set.ts'
import { ConnectionLost } from '../stream/connection-lost.ts'
import { tableName } from '../tables.ts'
import { openShard } from './connection.ts'
import type { RowsOf } from './page-ranges.ts'

/** Held until it is disposed of. */
type Claim = {
  /** Aborts when the connection that holds the claim is lost. */
  readonly lost: AbortSignal
  /** Lets workers join. */
  share(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

type Claimed = RowsOf & { readonly targetUrl: string; readonly signal: AbortSignal }

const waitMaxMs = 30_000

/** Waits for those who still write such rows. @throws 55P03 when they do so for too long. */
export async function claimTarget(claimed: Claimed): Promise<Claim> {
  const connection = await openShard(claimed.targetUrl, claimed.signal)
  const { client } = connection
  const loss = new AbortController()
  const lost = () => loss.abort(new ConnectionLost('the connection to the target was lost'))
  client.on('end', lost)
  const dispose = async () => {
    client.off('end', lost)
    await connection[Symbol.asyncDispose]()
  }
  const key = [keyOf(claimed)]
  try {
    await client.query(`SET lock_timeout = ${waitMaxMs}`)
    await client.query('SELECT pg_advisory_lock(hashtextextended($1, 0))', key)
  } catch (thrown) {
    await dispose()
    claimed.signal.throwIfAborted()
    throw thrown
  }
  const share = async () => {
    await client.query('SELECT pg_advisory_lock_shared(hashtextextended($1, 0))', key)
    await client.query('SELECT pg_advisory_unlock(hashtextextended($1, 0))', key)
  }
  return { lost: loss.signal, share, [Symbol.asyncDispose]: dispose }
}

/** For the rest of the session. */
export async function joinClaim(worker: Client, claimed: Claimed): Promise<void> {
  await worker.query(`SET lock_timeout = ${waitMaxMs}`)
  await worker.query('SELECT pg_advisory_lock_shared(hashtextextended($1, 0))', [keyOf(claimed)])
  await worker.query('SET lock_timeout = 0')
}

/** A hash of it is the lock; another move's rows of the same table are another lock. */
function keyOf({ table, set, rules }: RowsOf): string {
  return `ringfence copy ${tableName(table)} ${movedSetSql(set, '', rules.keyType)}`
}
