// The data that every program writes: few rows, but tenants enough to lie on every shard.

/** Shard key values, one per tenant. Negative, large and beyond 2^53: all are bigint to the server. */
export const tenantIds: readonly bigint[] = [
  ...Array.from({ length: 10 }, (_, index) => BigInt(index + 1)),
  -7n,
  4_294_967_311n,
  9_007_199_254_740_993n,
]

/** The tenant whose rows the steps change. */
export const tenantId = 3n

/** Rows of the reference table; its `sku` is a volatile default that every copy must share. */
export const products = [
  { id: 1, name: 'anvil', price: '49.90' },
  { id: 2, name: 'rope', price: '7.25' },
  { id: 3, name: 'ladder', price: '120.00' },
] as const

/** A row of `samples` for each tenant given: all values set, then all that may be NULL. */
export const sampleValues = {
  small: -32_768,
  whole: 2_147_483_647,
  big: 9_223_372_036_854_775_807n,
  ratio: 0.1,
  amount: '12345678901234.567891',
  label: 'naïve "quotes" \\ and \' and\nlines €',
  code: 'A-1',
  flag: true,
  at: new Date('2024-02-29T12:34:56.789Z'),
  day: '1999-12-31',
  token: '9b2fdc7c-0f9d-4f7b-8e1a-0a2a5b9f3c11',
  doc: { nested: { list: [1, 'two', null], yes: true }, text: 'a"b' },
  words: ['one', 'with, comma', 'quote"d', ''],
  numbers: [1, -2, 3],
  bytes: Uint8Array.from([0, 1, 92, 39, 255]),
} as const

/** Columns of `samples` that hold a value of `sampleValues`, in the table's order. */
export const sampleColumns = [
  'small',
  'whole',
  'big',
  'ratio',
  'amount',
  'label',
  'code',
  'flag',
  'at',
  'day',
  'token',
  'doc',
  'words',
  'numbers',
  'bytes',
] as const satisfies readonly (keyof typeof sampleValues)[]

/** How many transactions run at once where many share few servers. */
export const crowd = 20

/** Users 1000 to 1299 of tenant 4, which has few others. */
export const manyUsers = Array.from({ length: 300 }, (_, index) => ({
  tenantId: 4n,
  id: 1_000 + index,
  email: `many${index}@t4.test`,
}))

/** Mail address of user `id` of a tenant. */
export const emailOf = (tenant: bigint, id: number): string => `user${id}@t${tenant}.test`
