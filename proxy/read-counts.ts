// Where reads have gone and why, in plain numbers that a scrape of the metrics reads.

/** What one shard has counted since the start; whoever does it adds to the fields. */
export type ReadCounts = {
  /** Reads served by replicas. */
  readonly replica: {
    /** The first replica that was chosen had what the session needs. */
    chosen: number
    /** After it, or another one, had caught up. */
    waited: number
    /** Run again there, because another server had failed. */
    retried: number
  }
  /** Reads served by the primary, and why. */
  readonly primary: {
    /** Somebody asked for the primary: target, hint, `consistency: strong`. */
    asked: number
    /** It takes its share: reads.include_primary. */
    shared: number
    /** No replica had what the session has written or seen, in time. */
    behind: number
    /** What a session id has written is not known: Redis is away or has forgotten it. */
    unknown: number
    /** No replica is up and within max_lag. */
    none: number
    /** Run again there, because a replica had failed. */
    retried: number
  }
  /** Reads that waited for a replica to catch up. */
  waits: number
  /** Statements that were run again on another server. */
  retried: number
}

/** All zero. */
export function newReadCounts(): ReadCounts {
  return {
    replica: { chosen: 0, waited: 0, retried: 0 },
    primary: { asked: 0, shared: 0, behind: 0, unknown: 0, none: 0, retried: 0 },
    waits: 0,
    retried: 0,
  }
}
