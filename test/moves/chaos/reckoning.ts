// The end: what stands on the shards, asked of each directly, against what clients were told. Every acknowledged write is
// there once, on the shard that owns it and on no other; what failed is nowhere; nothing is there that nobody wrote.
import { withClient } from '../../../demo/sql.ts'
import type { Fate, Ledger, TokenHistory } from './ledger.ts'
import { accountsPerTenant, openingBalance, openingEntries, prices, tenants } from './schema.ts'
import type { ChaosStack } from './stack.ts'
import { bodyOf, itemsOf, noteOf } from './writes.ts'

type Row = Readonly<Record<string, string>>
/** By table: rows of all shards, none twice. */
type Contents = ReadonlyMap<string, ReadonlyMap<string, Row>>

const identities: Readonly<Record<string, readonly string[]>> = {
  account: ['tenant_id', 'id'],
  transfer: ['tenant_id', 'id'],
  list: ['tenant_id', 'id'],
  entry: ['tenant_id', 'client', 'seq'],
  token: ['id'],
}

/** Tells the ledger of every violation; gives the number of rows that were compared. */
export async function reckon(stack: ChaosStack, ledger: Ledger): Promise<number> {
  const contents = await readContents(stack, ledger)
  checkEntries(rowsOf(contents, 'entry'), ledger)
  checkLists(rowsOf(contents, 'list'), ledger)
  checkBank(contents, ledger)
  checkTokens(rowsOf(contents, 'token'), ledger)
  await checkPrices(stack, ledger)
  return [...contents.values()].reduce((sum, rows) => sum + rows.size, 0)
}

function rowsOf(contents: Contents, table: string): ReadonlyMap<string, Row> {
  return contents.get(table) ?? new Map<string, Row>()
}

/** Owners are the catalog's. */
async function readContents(stack: ChaosStack, ledger: Ledger): Promise<Contents> {
  const owners = await withClient(stack.catalogUrl, async (client) => {
    const { rows } = await client.query<{ tenant: string; shard: string }>(
      `SELECT t.id::text AS tenant, coalesce(p.shard, v.shard) AS shard
       FROM generate_series(1::bigint, $1::bigint) t (id)
       JOIN ringfence.vnode v ON v.vnode = ringfence.vnode(t.id)
       LEFT JOIN ringfence.pin p ON p.key = t.id::text`,
      [tenants],
    )
    return new Map(rows.map(({ tenant, shard }) => [tenant, shard]))
  })
  const contents = new Map<string, Map<string, Row>>()
  for (const { id } of stack.shards) {
    for (const [table, identity] of Object.entries(identities)) {
      const found = contents.get(table) ?? new Map<string, Row>()
      contents.set(table, found)
      for (const row of await readTable(stack.url(id), table)) {
        const name = identity.map((column) => row[column]).join('/')
        const owner = owners.get(row['tenant_id'] ?? '')
        if (owner !== id) ledger.violation(`${table} ${name} is on ${id}, but ${owner} owns it`)
        if (found.has(name)) ledger.violation(`${table} ${name} is there twice`)
        found.set(name, row)
      }
    }
  }
  return contents
}

async function readTable(url: string, table: string) {
  return await withClient(url, async (client) => {
    const { rows } = await client.query<{ row: string }>(
      `SELECT (SELECT json_object_agg(key, value) FROM json_each_text(row_to_json(t)))::text AS row
       FROM ${table} t`,
    )
    return rows.map(({ row }) => rowOf(JSON.parse(row)))
  })
}

function rowOf(parsed: unknown): Row {
  if (typeof parsed !== 'object' || parsed === null) return {}
  return Object.fromEntries(Object.entries(parsed).map(([name, text]) => [name, String(text)]))
}

/** @returns whether `fate` and what was found go together */
function agree(fate: Fate, present: boolean): boolean {
  return fate === 'done' ? present : fate === 'failed' ? !present : true
}

function checkEntries(rows: ReadonlyMap<string, Row>, ledger: Ledger): void {
  let known = 0
  for (const [client, entries] of ledger.entries) {
    for (const [seq, { fate, tenant }] of entries) {
      const name = `${tenant}/${client}/${seq}`
      const row = rows.get(name)
      if (row !== undefined) known += 1
      if (!agree(fate, row !== undefined)) ledger.violation(`entry ${name}: ${lost(fate)}`)
      if (row !== undefined && row['body'] !== bodyOf(client, seq)) {
        ledger.violation(`entry ${name} was changed`)
      }
    }
  }
  known += tenants * openingEntries
  for (let tenant = 1; tenant <= tenants; tenant += 1) {
    for (let seq = 1; seq <= openingEntries; seq += 1) {
      if (!rows.has(`${tenant}/0/${seq}`))
        ledger.violation(`opening entry ${tenant}/${seq} is lost`)
    }
  }
  if (known !== rows.size) ledger.violation(`${rows.size} entries stand there, ${known} are known`)
}

function checkLists(rows: ReadonlyMap<string, Row>, ledger: Ledger): void {
  let known = 0
  for (const [name, history] of ledger.lists) {
    const row = rows.get(name)
    if (row !== undefined) known += 1
    // to_json writes an array with brackets.
    const items = itemsOf(row?.['items'] ?? '')
    const lengthThen = history.truth.length
    ledger.sawList(name, history, items, { beganAt: ledger.tick(), lengthThen })
    const [tenant, id] = name.split('/').map(Number)
    if (row !== undefined && row['note'] !== noteOf(tenant ?? 0, id ?? 0)) {
      ledger.violation(`the note of list ${name} was changed`)
    }
  }
  if (known !== rows.size) ledger.violation(`${rows.size} lists stand there, ${known} are known`)
}

function checkBank(contents: Contents, ledger: Ledger): void {
  const balances = new Map<string, number>()
  const add = (account: string, amount: number) =>
    balances.set(account, (balances.get(account) ?? openingBalance) + amount)
  const transfers = rowsOf(contents, 'transfer')
  let known = 0
  for (const [id, { tenant, source, target, amount, fate }] of ledger.transfers) {
    const present = transfers.has(`${tenant}/${id}`)
    if (!agree(fate, present)) ledger.violation(`transfer ${id} of tenant ${tenant}: ${lost(fate)}`)
    if (!present) continue
    known += 1
    add(`${tenant}/${source}`, -amount)
    add(`${tenant}/${target}`, amount)
  }
  if (known !== transfers.size) {
    ledger.violation(`${transfers.size} transfers stand there, ${known} are known`)
  }
  const accounts = rowsOf(contents, 'account')
  if (accounts.size !== tenants * accountsPerTenant) {
    ledger.violation(`there are ${accounts.size} accounts`)
  }
  for (const [name, { balance }] of accounts) {
    const expected = balances.get(name) ?? openingBalance
    if (Number(balance) === expected) continue
    ledger.violation(`account ${name} has ${balance}, by its transfers ${expected}`)
  }
}

function checkTokens(rows: ReadonlyMap<string, Row>, ledger: Ledger): void {
  let known = 0
  for (const token of ledger.tokens) {
    const names = new Set(token.possible.flatMap((each) => (each === null ? [] : [each.id])))
    const present = [...names].map((name) => rows.get(name)).filter((row) => row !== undefined)
    known += present.length
    if (!isPossible(token, present)) {
      const found = JSON.stringify(present)
      ledger.violation(`token ${JSON.stringify(token)}: found ${found}`)
    }
  }
  if (known !== rows.size) ledger.violation(`${rows.size} tokens stand there, ${known} are known`)
}

function isPossible({ tenant, possible }: TokenHistory, present: readonly Row[]): boolean {
  const [row, another] = present
  if (another !== undefined) return false
  if (row === undefined) return possible.includes(null)
  return possible.some((each) => {
    if (each?.id !== row['id']) return false
    return String(each?.state) === row['state'] && String(tenant) === row['tenant_id']
  })
}

/** The same on every shard. */
async function checkPrices(stack: ChaosStack, ledger: Ledger): Promise<void> {
  const read = (url: string) =>
    withClient(url, async (client) => {
      const { rows } = await client.query<{ id: number; cents: string }>(
        'SELECT id, cents FROM price ORDER BY id',
      )
      return rows.map(({ cents }) => Number(cents))
    })
  const copies = await Promise.all(stack.shards.map(({ id }) => read(stack.url(id))))
  const [first = []] = copies
  if (new Set(copies.map((copy) => copy.join())).size !== 1 || first.length !== prices) {
    ledger.violation(`copies of the prices differ: ${JSON.stringify(copies)}`)
  }
  for (const [at, cents] of first.entries()) {
    const { done = 0, unknown = 0 } = ledger.raises.get(at + 1) ?? {}
    if (cents >= done && cents <= done + unknown) continue
    ledger.violation(
      `price ${at + 1} is ${cents}, was raised ${done} times, perhaps ${unknown} more`,
    )
  }
}

function lost(fate: Fate): string {
  return fate === 'done' ? 'it was acknowledged and is lost' : 'it failed and is there'
}
