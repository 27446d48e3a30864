// Where rows lie: the shards themselves are asked, behind the proxy's back, and compared with the
// oracle.
import { Client } from 'pg'
import type { Stack } from '../support/stack.ts'

/** A table to look at. */
export type WatchedTable = {
  readonly name: string
  readonly placement: 'sharded' | 'reference' | 'home'
  /** Shard key column of a sharded table. */
  readonly key?: string
  /**
   * Columns whose values both sides must agree on; the others are drawn by each side for itself.
   */
  readonly columns: readonly string[]
  /** Column whose values may not repeat over all shards. */
  readonly unique?: string
}

type Found = {
  readonly table: string
  readonly vnode: number
  readonly stable: string
  readonly drawn: string | null
  readonly all: string
}

/** Connections to all shards and the oracle. */
export class Contents {
  readonly #tables: readonly WatchedTable[]
  readonly #shards: readonly Client[]
  readonly #oracle: Client
  readonly #owners: ReadonlyMap<number, number>

  private constructor(
    tables: readonly WatchedTable[],
    clients: { readonly shards: readonly Client[]; readonly oracle: Client },
    owners: ReadonlyMap<number, number>,
  ) {
    this.#tables = tables
    this.#shards = clients.shards
    this.#oracle = clients.oracle
    this.#owners = owners
  }

  static async open(stack: Stack, tables: readonly WatchedTable[]): Promise<Contents> {
    const shards = await Promise.all(
      stack.shardUrls.map((connectionString) => connect(new Client({ connectionString }))),
    )
    const oracle = await connect(new Client(stack.direct))
    const [home] = shards
    const owners = new Map<number, number>()
    const sql = `SELECT v.vnode, s.ordinal FROM ringfence.vnode v JOIN ringfence.shard s
      ON s.id = v.shard`
    const answer = await home?.query<{ vnode: number; ordinal: number }>(sql)
    for (const { vnode, ordinal } of answer?.rows ?? []) owners.set(vnode, ordinal)
    return new Contents(tables, { shards, oracle }, owners)
  }

  async close(): Promise<void> {
    await Promise.all([...this.#shards, this.#oracle].map((client) => client.end()))
  }

  /** Runs SQL on every shard and the oracle. */
  async everywhere(sqlOf: (shard: number | null) => string): Promise<void> {
    await Promise.all([
      this.#oracle.query(sqlOf(null)),
      ...this.#shards.map((client, at) => client.query(sqlOf(at))),
    ])
  }

  /** Number of the shard whose rows have that vnode. */
  ownerOf(vnode: number): number {
    return this.#owners.get(vnode) ?? -1
  }

  /** Text of all rows that the oracle holds. */
  async oracleText(): Promise<string> {
    const rows = await read(this.#oracle, this.#tables, false)
    return rows
      .map(({ table, stable }) => `${table}${stable}`)
      .toSorted()
      .join('\n')
  }

  /** Rows of `sql` on the oracle, and on every shard if they are others there. */
  async differing(sql: string): Promise<string[]> {
    const ask = async (client: Client) => JSON.stringify((await client.query(sql)).rows)
    const expected = await ask(this.#oracle)
    const answers = await Promise.all(this.#shards.map(ask))
    return answers.some((answer) => answer !== expected) ? [expected, ...answers] : []
  }

  /** First column on the oracle. */
  async column(sql: string): Promise<string[]> {
    const { rows } = await this.#oracle.query<[string]>({ text: sql, rowMode: 'array' })
    return rows.map(([value]) => value)
  }

  /** Everything that is not where and as it should be; empty when all is well. */
  async faults(tables: readonly WatchedTable[] = this.#tables): Promise<string[]> {
    if (tables.length === 0) return []
    const expected = await read(this.#oracle, tables, false)
    const found = await Promise.all(this.#shards.map((client) => read(client, tables, true)))
    return tables.flatMap((table) => {
      const of = (rows: readonly Found[]) => rows.filter((row) => row.table === table.name)
      return this.#tableFaults(table, found.map(of), of(expected))
    })
  }

  #tableFaults(table: WatchedTable, found: readonly Found[][], expected: Found[]): string[] {
    const [home = [], ...others] = found
    const say = (what: string) => `${table.name}: ${what}`
    switch (table.placement) {
      case 'home': {
        const strays = others.flat().map(({ all }) => say(`${all} is not on the home shard alone`))
        return [...strays, ...unequal(home, expected).map(say)]
      }
      case 'reference': {
        const copies = others.filter((rows) => fullText(rows) !== fullText(home))
        const differ = copies.map((rows) =>
          say(`a copy differs: ${fullText(rows)} / ${fullText(home)}`),
        )
        return [...differ, ...unequal(home, expected).map(say)]
      }
      case 'sharded': {
        const misplaced = found.flatMap((rows, shard) =>
          rows
            .filter(({ vnode }) => this.#owners.get(vnode) !== shard)
            .map(({ all }) => say(`${all} lies on shard number ${shard}`)),
        )
        const drawn = found.flat().flatMap(({ drawn }) => drawn ?? [])
        const repeated = new Set(drawn).size < drawn.length ? [say('drawn twice')] : []
        return [...misplaced, ...repeated, ...unequal(found.flat(), expected).map(say)]
      }
    }
  }
}

async function connect(client: Client): Promise<Client> {
  client.on('error', () => undefined)
  await client.connect()
  // Whoever still holds a lock then is a fault of its own.
  await client.query(`SET lock_timeout = '5s'`)
  return client
}

async function read(
  client: Client,
  tables: readonly WatchedTable[],
  sharded: boolean,
): Promise<Found[]> {
  const selects = tables.map(({ name, key, columns, unique = 'NULL' }) => {
    const vnode = sharded && key !== undefined ? `ringfence.vnode(${key})` : '0'
    const stable = `ROW(${columns.join(', ')})::text`
    return `SELECT '${name}' AS table, ${vnode} AS vnode, ${stable} AS stable, ${unique}::text
      AS drawn,
      x::text AS all FROM ${name} x`
  })
  const { rows } = await client.query<Found>(selects.join(' UNION ALL '))
  return rows
}

function unequal(found: readonly Found[], expected: readonly Found[]): string[] {
  const texts = (rows: readonly Found[]) => rows.map(({ stable }) => stable).toSorted()
  const [one, other] = [texts(found), texts(expected)]
  if (JSON.stringify(one) === JSON.stringify(other)) return []
  const extra = one.filter((row) => !other.includes(row))
  const missing = other.filter((row) => !one.includes(row))
  return [
    `${one.length} rows, the oracle has ${other.length}; ` +
      `extra ${extra.join(' ')}, missing ${missing.join(' ')}`,
  ]
}

function fullText(rows: readonly Found[]): string {
  return rows
    .map(({ all }) => all)
    .toSorted()
    .join(' ')
}
