// What two servers have said of the same buckets, compared. Pure.

/** Of the rows of one bucket, added up over the parts of a table. */
export type Sum = { rows: number; first: bigint; second: bigint; bytes: number }

export type Sums = Map<string, Sum>

/** A bucket that is not the same on both sides. */
export type DifferingBucket = {
  readonly id: string
  readonly sourceRows: number
  readonly targetRows: number
}

/** Adds one answer; the order of answers does not matter. */
export function addSum(sums: Sums, bucket: string, sum: Readonly<Sum>): void {
  const known = sums.get(bucket)
  if (known === undefined) {
    sums.set(bucket, { ...sum })
    return
  }
  known.rows += sum.rows
  known.first += sum.first
  known.second += sum.second
  known.bytes += sum.bytes
}

/** In the order of their ids, so that two runs list the same. */
export function differingBuckets(source: Sums, target: Sums): readonly DifferingBucket[] {
  const ids = new Set([...source.keys(), ...target.keys()])
  const differing = [...ids].filter((id) => !same(source.get(id), target.get(id)))
  return differing
    .map((id) => {
      const sourceRows = source.get(id)?.rows ?? 0
      return { id, sourceRows, targetRows: target.get(id)?.rows ?? 0 }
    })
    .sort((one, other) => (BigInt(one.id) < BigInt(other.id) ? -1 : 1))
}

/** The least number of rows that can make these buckets differ. */
export function rowsAtLeast(buckets: readonly DifferingBucket[]): number {
  return buckets.reduce((sum, { sourceRows, targetRows }) => {
    return sum + Math.max(1, Math.abs(sourceRows - targetRows))
  }, 0)
}

/** As many of the first buckets as have `rowsMax` rows together on either side. */
export function firstBuckets(
  buckets: readonly DifferingBucket[],
  rowsMax: number,
): readonly DifferingBucket[] {
  let rows = 0
  const end = buckets.findIndex(({ sourceRows, targetRows }) => {
    rows += Math.max(sourceRows, targetRows)
    return rows > rowsMax
  })
  return end === -1 ? buckets : buckets.slice(0, end)
}

function same(one: Sum | undefined, other: Sum | undefined): boolean {
  if (one === undefined || other === undefined) return false
  return one.rows === other.rows && one.first === other.first && one.second === other.second
}
