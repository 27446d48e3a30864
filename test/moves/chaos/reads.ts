// What clients read, and what must be true of it at every instant.
import { accountsPerTenant, openingBalance, openingEntries, tenants } from './schema.ts'
import { type Actor, anyTenant, currentList, itemsOf } from './writes.ts'

const recentEntries = 300
const clientOfOpening = 0

export async function readList({ line, ledger, random }: Actor): Promise<void> {
  const tenant = anyTenant(random)
  const current = currentList(ledger, tenant)
  const id = current > 1 && random.oneIn(3) ? 1 + random.below(current) : current
  const history = ledger.list(tenant, id)
  const seen = { beganAt: ledger.tick(), lengthThen: history.truth.length }
  const { rows } = await line.query(
    'SELECT items::text FROM list WHERE tenant_id = $1 AND id = $2',
    [tenant, id],
    random.oneIn(2) ? 'read list' : undefined,
  )
  ledger.sawList(`${tenant}/${id}`, history, itemsOf(rows[0]?.[0] ?? ''), seen)
}

/** Transfers are within a tenant: what it has altogether never changes. */
export async function readTenant({ line, ledger, random }: Actor): Promise<void> {
  const tenant = anyTenant(random)
  const { rows } = await line.query(
    'SELECT count(*), sum(balance) FROM account WHERE tenant_id = $1',
    [tenant],
  )
  const [count, sum] = rows[0] ?? []
  if (Number(count) === accountsPerTenant && Number(sum) === accountsPerTenant * openingBalance) {
    return
  }
  ledger.violation(`tenant ${tenant} has ${count} accounts with ${sum} altogether`)
}

/**
 * All accounts of all shards. Without a common snapshot, and yet each tenant is whole: it is on one shard, and its rows
 * are of that shard's snapshot.
 */
export async function readAllTenants({ line, ledger }: Actor): Promise<void> {
  const { rows } = await line.query('SELECT tenant_id, id, balance FROM account')
  const byTenant = new Map<string, { accounts: Set<string>; rows: number; sum: number }>()
  for (const [tenant, id, balance] of rows) {
    const found = byTenant.get(tenant ?? '') ?? { accounts: new Set<string>(), rows: 0, sum: 0 }
    found.accounts.add(id ?? '')
    found.rows += 1
    found.sum += Number(balance)
    byTenant.set(tenant ?? '', found)
  }
  if (byTenant.size !== tenants) ledger.violation(`a read of all tenants gave ${byTenant.size}`)
  for (const [tenant, { accounts, rows: count, sum }] of byTenant) {
    if (count !== accounts.size) ledger.violation(`tenant ${tenant}: an account was read twice`)
    else if (count !== accountsPerTenant || sum !== accountsPerTenant * openingBalance) {
      ledger.violation(`tenant ${tenant}, among all: ${count} accounts with ${sum} altogether`)
    }
  }
}

/** Rows that nobody changes: one of each tenant. */
export async function readOpeningEntries({ line, ledger, random }: Actor): Promise<void> {
  const seq = 1 + random.below(openingEntries)
  const { rows } = await line.query(
    'SELECT tenant_id, body FROM entry WHERE client = $1 AND seq = $2',
    [clientOfOpening, seq],
  )
  const found = new Set(rows.map(([tenant]) => tenant)).size
  if (rows.length === tenants && found === tenants) return
  ledger.violation(`opening entries ${seq}: ${rows.length} rows of ${found} of ${tenants} tenants`)
}

/** The newest entries of one client, wherever they are. */
export async function readEntries({ line, ledger, random }: Actor): Promise<void> {
  const clients = [...ledger.entries.keys()]
  const client = clients[random.below(Math.max(1, clients.length))]
  if (client === undefined) return
  const entries = ledger.entriesOf(client)
  const from = Math.max(0, entries.size - recentEntries)
  const beganAt = ledger.tick()
  const sql = 'SELECT tenant_id, seq FROM entry WHERE client = $1 AND seq > $2'
  const { rows } = await line.query(sql, [client, from], 'recent entries')
  const seen = new Set<number>()
  for (const [tenant, text] of rows) {
    const seq = Number(text)
    const write = entries.get(seq)
    const name = `entry ${seq} of client ${client}`
    if (seen.has(seq)) ledger.violation(`${name} was read twice`)
    seen.add(seq)
    if (write === undefined || write.fate === 'failed') {
      ledger.violation(`${name} was read, but its insertion failed`)
    } else if (Number(tenant) !== write.tenant) {
      ledger.violation(`${name} is of tenant ${tenant}, not ${write.tenant}`)
    }
  }
  for (let seq = from + 1; seq <= entries.size; seq += 1) {
    const doneAt = entries.get(seq)?.doneAt ?? 0
    if (doneAt > 0 && doneAt < beganAt && !seen.has(seq)) {
      ledger.violation(`entry ${seq} of client ${client} was acknowledged and is not there`)
    }
  }
}

/** A transaction that reads one tenant twice and writes to another: what it reads stays as the client left it. */
export async function readInTransaction({ line, ledger, random }: Actor): Promise<void> {
  const tenant = anyTenant(random)
  await line.transaction(async () => {
    await line.query('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ')
    const sql = 'SELECT id, balance FROM account WHERE tenant_id = $1 ORDER BY id'
    const first = await line.query(sql, [tenant], 'accounts')
    const second = await line.query(sql, [tenant], 'accounts')
    if (JSON.stringify(first.rows) !== JSON.stringify(second.rows)) {
      ledger.violation(`tenant ${tenant} changed between two reads of one snapshot`)
    }
    const sum = first.rows.reduce((total, [, balance]) => total + Number(balance), 0)
    if (first.rows.length === accountsPerTenant && sum === accountsPerTenant * openingBalance)
      return
    ledger.violation(`tenant ${tenant}, in a snapshot: ${first.rows.length} accounts with ${sum}`)
  })
}
