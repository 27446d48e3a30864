// What the connections of a pool do, in numbers.

/** Connections, and statements that wait for one. */
export type PoolStats = {
  readonly idle: number
  readonly leased: number
  readonly opening: number
  readonly waiting: number
}

/** All of them together. */
export function sumOfStats(pools: readonly { readonly stats: PoolStats }[]): PoolStats {
  const sum = { idle: 0, leased: 0, opening: 0, waiting: 0 }
  for (const { stats } of pools) {
    sum.idle += stats.idle
    sum.leased += stats.leased
    sum.opening += stats.opening
    sum.waiting += stats.waiting
  }
  return sum
}
