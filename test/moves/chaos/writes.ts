// What clients write: transfers between accounts of a tenant, appends to lists and of rows, tokens that come, change and
// go, and prices, which are on every shard.
import { createHash, randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { Random } from '../../support/random.ts'
import { itemOf, type Ledger, type Token, type TokenHistory, type Transfer } from './ledger.ts'
import { type Line, LineError } from './line.ts'
import { accountsPerTenant, prices, tenants } from './schema.ts'

export type Actor = {
  /** 1 and up. */
  readonly client: number
  readonly line: Line
  readonly ledger: Ledger
  readonly random: Random
  /** The tokens that it may still change. */
  readonly tokens: TokenHistory[]
}

const listLengthMax = 60
const copyLinesMax = 20
const tokensMax = 20

export function anyTenant(random: Random): number {
  // A few are asked for more often than others.
  return random.oneIn(4) ? 1 + random.below(10) : 1 + random.below(tenants)
}

/** Of an entry: told by its number, so that it can be compared. */
export function bodyOf(client: number, seq: number): string {
  return `entry ${seq} of client ${client}`.padEnd(80, '.')
}

/** 4 kB that do not shrink: it stands out of line. */
export function noteOf(tenant: number, list: number): string {
  const lines = Array.from({ length: 32 }, (_, at) =>
    createHash('sha512').update(`${tenant} ${list} ${at}`).digest('hex'),
  )
  return lines.join('')
}

/** The list of a tenant that is appended to now. */
export function currentList(ledger: Ledger, tenant: number): number {
  let id = 1
  while (ledger.list(tenant, id).truth.length >= listLengthMax) id += 1
  return id
}

export async function appendToList({ client, line, ledger, random }: Actor): Promise<void> {
  const tenant = anyTenant(random)
  const id = currentList(ledger, tenant)
  const history = ledger.list(tenant, id)
  const item = itemOf(client, ledger.tick())
  const write = ledger.begin()
  history.writes.set(item, write)
  const seen = { beganAt: ledger.tick(), lengthThen: history.truth.length }
  const { rows } = await ledger.settle(write, () =>
    line.query(
      `INSERT INTO list AS l VALUES ($1, $2, ARRAY[$3::bigint], $4)
       ON CONFLICT (tenant_id, id) DO UPDATE SET items = l.items || excluded.items
       RETURNING l.items::text`,
      [tenant, id, item, noteOf(tenant, id)],
      random.oneIn(2) ? 'append' : undefined,
    ),
  )
  ledger.sawList(`${tenant}/${id}`, history, itemsOf(rows[0]?.[0] ?? ''), seen)
}

/** Of the text of an array. */
export function itemsOf(text: string): readonly number[] {
  return text === '' || text === '{}' ? [] : text.slice(1, -1).split(',').map(Number)
}

export async function insertEntry({ client, line, ledger, random }: Actor): Promise<void> {
  const tenant = anyTenant(random)
  const entries = ledger.entriesOf(client)
  const seq = entries.size + 1
  const write = { ...ledger.begin(), tenant }
  entries.set(seq, write)
  await ledger.settle(write, () =>
    random.oneIn(3)
      ? line.query(
          `INSERT INTO entry VALUES (${tenant}, ${client}, ${seq}, '${bodyOf(client, seq)}')`,
        )
      : line.query(
          'INSERT INTO entry (tenant_id, client, seq, body) VALUES ($1, $2, $3, $4)',
          [tenant, client, seq, bodyOf(client, seq)],
          random.oneIn(2) ? 'insert entry' : undefined,
        ),
  )
}

export async function copyEntries({ client, line, ledger, random }: Actor): Promise<void> {
  const tenant = anyTenant(random)
  const entries = ledger.entriesOf(client)
  const first = entries.size + 1
  const numbers = Array.from({ length: 1 + random.below(copyLinesMax) }, (_, at) => first + at)
  const writes = numbers.map((seq) => {
    const write = { ...ledger.begin(), tenant }
    entries.set(seq, write)
    return write
  })
  const lines = numbers.map((seq) => [tenant, client, seq, bodyOf(client, seq)].join('\t'))
  try {
    await line.copy('COPY entry (tenant_id, client, seq, body) FROM STDIN', lines)
    for (const write of writes) ledger.end(write, 'done')
  } catch (error) {
    const fate = error instanceof LineError ? error.fate : 'unknown'
    for (const write of writes) ledger.end(write, fate)
    throw error
  }
}

/** In a transaction of several statements, some of them slow. */
export async function transferInSteps(actor: Actor): Promise<void> {
  const { line, ledger, random } = actor
  const { id, transfer, places } = newTransfer(actor)
  const { tenant, source, target, amount } = transfer
  await ledger.settle(transfer, () =>
    line.transaction(async () => {
      const { rows } = await line.query(
        'SELECT id, balance FROM account WHERE tenant_id = $1 AND id IN ($2, $3) ORDER BY id FOR UPDATE',
        places,
        'lock accounts',
      )
      if (rows.length !== 2) ledger.violation(`tenant ${tenant}: ${rows.length} of 2 accounts`)
      await rest(random)
      const update = 'UPDATE account SET balance = balance + $3 WHERE tenant_id = $1 AND id = $2'
      const taken = await line.query(update, [tenant, source, -amount], 'pay')
      await rest(random)
      const given = await line.query(update, [tenant, target, amount], 'pay')
      if (taken.rowCount + given.rowCount !== 2) {
        ledger.violation(`tenant ${tenant}: an account that was locked is not there`)
      }
      await line.query('INSERT INTO transfer VALUES ($1, $2, $3, $4, $5)', [
        tenant,
        id,
        source,
        target,
        amount,
      ])
    }),
  )
}

/** All of it in one statement. */
export async function transferAtOnce(actor: Actor): Promise<void> {
  const { line, ledger } = actor
  const { id, transfer, places } = newTransfer(actor)
  await ledger.settle(transfer, () =>
    line.query(
      `WITH locked AS (SELECT id FROM account WHERE tenant_id = $1 AND id IN ($2, $3) ORDER BY id FOR UPDATE),
            paid AS (UPDATE account a SET balance = a.balance + CASE a.id WHEN $2 THEN -$4::int ELSE $4::int END
                     FROM locked l WHERE a.tenant_id = $1 AND a.id = l.id)
       INSERT INTO transfer (tenant_id, id, source, target, amount) VALUES ($1, $5, $2, $3, $4)`,
      [...places, transfer.amount, id],
    ),
  )
}

function newTransfer({ ledger, random }: Actor) {
  const id = randomUUID()
  const source = 1 + random.below(accountsPerTenant)
  const target = 1 + ((source + random.below(accountsPerTenant - 1)) % accountsPerTenant)
  const tenant = anyTenant(random)
  const amount = 1 + random.below(100)
  const transfer: Transfer = { ...ledger.begin(), tenant, source, target, amount }
  ledger.transfers.set(id, transfer)
  return { id, transfer, places: [tenant, source, target] }
}

async function rest(random: Random): Promise<void> {
  if (random.oneIn(300)) await delay(2_500)
  else if (random.oneIn(12)) await delay(random.below(250))
}

/** A token comes, changes its state or its identity, or goes. */
export async function changeToken({ line, ledger, random, tokens }: Actor): Promise<void> {
  if (tokens.length < tokensMax) {
    const token: TokenHistory = { tenant: anyTenant(random), possible: [null] }
    ledger.tokens.push(token)
    const now = { id: randomUUID(), state: 0 }
    const sql = 'INSERT INTO token (tenant_id, id, state) VALUES ($1, $2, $3)'
    await change(ledger, tokens, token, now, () => line.query(sql, [token.tenant, now.id, 0]))
    return
  }
  const token = tokens.splice(random.below(tokens.length), 1)[0]
  const before = token?.possible[0] ?? null
  if (token === undefined || before === null) return
  const where = 'WHERE tenant_id = $1 AND id = $2'
  const at = [token.tenant, before.id]
  const way = random.below(4)
  const { now, sql, more } =
    way === 0
      ? { now: null, sql: `DELETE FROM token ${where}`, more: [] }
      : way === 1
        ? renamed(before, where)
        : {
            now: { ...before, state: before.state + 1 },
            sql: `UPDATE token SET state = state + 1 ${where}`,
            more: [],
          }
  await change(ledger, tokens, token, now, () => line.query(sql, [...at, ...more]))
}

function renamed(before: Token, where: string) {
  const now = { ...before, id: randomUUID() }
  return { now, sql: `UPDATE token SET id = $3 ${where}`, more: [now.id] }
}

async function change(
  ledger: Ledger,
  tokens: TokenHistory[],
  token: TokenHistory,
  now: Token | null,
  run: () => Promise<{ readonly rowCount: number }>,
): Promise<void> {
  const before = token.possible
  const write = ledger.begin()
  try {
    const { rowCount } = await ledger.settle(write, run)
    token.possible = [now]
    const name = before[0]?.id ?? now?.id ?? ''
    if (rowCount !== 1) ledger.violation(`token ${name} of tenant ${token.tenant} is not there`)
    else if (now !== null) tokens.push(token)
  } catch (error) {
    if (write.fate === 'unknown') token.possible = [...before, now]
    else if (before[0] !== null) tokens.push(token)
    throw error
  }
}

/**
 * On all shards, in two phases. A proxy that is killed in between leaves it to recovery, for which others who raise have to
 * wait: only one client does.
 */
export async function raisePrice({ client, line, ledger, random }: Actor): Promise<void> {
  if (client !== 1) return
  const id = 1 + random.below(prices)
  const raises = ledger.raises.get(id) ?? { done: 0, unknown: 0 }
  ledger.raises.set(id, raises)
  try {
    await line.query('UPDATE price SET cents = cents + 1 WHERE id = $1', [id])
    raises.done += 1
  } catch (error) {
    if (error instanceof LineError && error.fate === 'unknown') raises.unknown += 1
    throw error
  }
}
