// Where the primary of a shard is now: the configuration names one, a failover may have made it another.
import { openShard } from './copy/connection.ts'

/** A shard as the mover connects to it. */
export type ShardAddress = {
  /** Logins that may replicate and write as a replica does. The configured primary first. */
  readonly urls: readonly string[]
}

const probeTimeoutMs = 3_000

/** URL of the primary. @throws why none of the hosts is one */
export async function primaryUrl({ urls }: ShardAddress): Promise<string> {
  const [only, ...others] = urls
  if (only !== undefined && others.length === 0) return only
  const reasons: string[] = []
  for (const url of urls) {
    try {
      if (await isPrimary(url)) return url
      reasons.push('is a replica')
    } catch (error) {
      reasons.push(error instanceof Error ? error.message : String(error))
    }
  }
  // Waited for like any other loss of a connection.
  throw Object.assign(new Error(`no primary was found: ${reasons.join('; ')}`), { code: '08001' })
}

async function isPrimary(url: string): Promise<boolean> {
  await using connection = await openShard(url, AbortSignal.timeout(probeTimeoutMs))
  const { rows } = await connection.client.query<{ replica: boolean }>(
    'SELECT pg_is_in_recovery() AS replica',
  )
  return rows[0]?.replica === false
}
