// Behind a statement that may have left something in its session without saying so: one question to its server, asked
// after the client has its answer. Settings that were found become the client's own, to be replayed on any server;
// temporary tables, locks and the like pin it; what is gone again pins no more.
import { pgError, toPgError } from '../core/errors.ts'
import type { ShardId } from '../core/ids.ts'
import { type Answer, ask } from '../pool/exchange.ts'
import type { ServerConnection } from '../pool/server-connection.ts'
import { quoteLiteral, SettingsProfile } from '../pool/settings-profile.ts'
import type { PinReason } from '../router/plan.ts'
import { type Look, lookFor, type Traces } from '../router/traces.ts'
import { isUnpinned, type Lease } from './leases.ts'
import type { SessionState } from './session-state.ts'

type EffectLook = { readonly look: Look; readonly traces: Traces }

// A transaction that calls more than that is looked at by the latest of them.
const namesMax = 1_000

/** How closely a server is to be looked at before it may serve another client. */
export type WantedLook = {
  readonly settings: boolean
  /** A statement leaves something by what it is: it is there, unless that has failed. */
  readonly likely: boolean
  /** Code that is known to set something has come to its end. */
  readonly sets: boolean
  /** Settings of the user's own, which no catalog lists. */
  readonly names: readonly string[]
  /** Functions and relations of which something ran: some set what only they know. */
  readonly ran: readonly string[]
}

/** Of settings that are never a session's own. */
const passing = "'^(transaction_|is_superuser$|in_hot_standby$|seed$)'"

const thingsSql = `
SELECT 'temporary table', NULL, NULL WHERE pg_catalog.pg_my_temp_schema() <> 0 AND (
  EXISTS (SELECT FROM pg_catalog.pg_class WHERE relnamespace = pg_catalog.pg_my_temp_schema())
  OR EXISTS (SELECT FROM pg_catalog.pg_proc WHERE pronamespace = pg_catalog.pg_my_temp_schema())
  OR EXISTS (SELECT FROM pg_catalog.pg_type WHERE typnamespace = pg_catalog.pg_my_temp_schema()))
UNION ALL SELECT 'advisory lock', NULL, NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_locks
  WHERE locktype = 'advisory' AND pid = pg_catalog.pg_backend_pid())
UNION ALL SELECT 'cursor with hold', NULL, NULL WHERE EXISTS (
  SELECT FROM pg_catalog.pg_cursors WHERE is_holdable)
UNION ALL SELECT 'PREPARE', NULL, NULL WHERE EXISTS (
  SELECT FROM pg_catalog.pg_prepared_statements WHERE from_sql)
UNION ALL SELECT 'LISTEN', NULL, NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_listening_channels())`

function settingsSql(names: readonly string[], before: SettingsProfile): string {
  const list = names.map(quoteLiteral).join(', ')
  const listed = before.listed.map(([name]) => quoteLiteral(name)).join(', ')
  return `
UNION ALL SELECT 'setting', name, setting FROM pg_catalog.pg_settings
WHERE source = 'session' AND name !~ ${passing}
UNION ALL SELECT 'own setting', n, pg_catalog.current_setting(n, true)
FROM pg_catalog.unnest(ARRAY[${list}]::pg_catalog.text[]) n
UNION ALL SELECT 'setting', n, pg_catalog.current_setting(n)
FROM pg_catalog.unnest(ARRAY['session_authorization', 'role']) n
UNION ALL SELECT 'hidden', n, NULL FROM pg_catalog.unnest(ARRAY[${listed}]::pg_catalog.text[]) n
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_settings WHERE pg_catalog.lower(name) = n)
UNION ALL SELECT 'prepared', pg_catalog.count(*)::pg_catalog.text, NULL
FROM pg_catalog.pg_prepared_statements WHERE NOT from_sql`
}

/** What both want to know. */
function widerLook(
  wanted: WantedLook | null,
  { look, traces }: EffectLook,
  sets: boolean,
): WantedLook {
  const both = (a: readonly string[], b: readonly string[]) => (a.length === 0 ? b : [...a, ...b])
  return {
    settings: look === 'settings' || wanted?.settings === true,
    likely: traces.leaves !== null || wanted?.likely === true,
    sets: sets || wanted?.sets === true,
    names: both(wanted?.names ?? [], traces.settings).slice(-namesMax),
    ran: both(wanted?.ran ?? [], both(traces.functions, traces.relations)).slice(-namesMax),
  }
}

/** What a statement that `server` has run, or tried to, asks for. `completed`: it has come to its end. */
export function noteLook(
  state: SessionState,
  effect: EffectLook,
  shard: ShardId,
  completed = false,
): void {
  const lease = state.leases.get(shard)
  if (lease === undefined || effect.look === 'none') return
  if (effect.look === 'things if pinned' && lease.pinned === null) return
  lease.look = widerLook(lease.look, effect, completed && setsSomething(state, effect))
}

/** Not what is looked at only since nothing was known, when it was sent, of the code that it runs. */
function setsSomething(
  { database, transaction }: SessionState,
  { look, traces }: EffectLook,
): boolean {
  if (look !== 'settings' || traces.opaque) return look === 'settings'
  const code = database.code.known
  if (code === null) return false
  return transaction?.codeChanged === true || lookFor(traces, code) === 'settings'
}

/** Looks at every server that needs it. Servers that give no answer are closed. @throws PgError when a pin is lost */
export async function lookAtServers(state: SessionState): Promise<void> {
  for (const lease of state.leases) if (lease.look !== null) await lookAt(state, lease)
}

async function lookAt(state: SessionState, lease: Lease): Promise<void> {
  const { server, look } = lease
  const { code } = state.database
  if (look === null) return
  // What was under way when it died was never committed.
  const sets = look.sets && !server.closed
  const question = async (sql: string) => (await askAgain(server, sql)).rows
  lease.looking = true
  try {
    // They were for the statement before; none is sent while it is looked at.
    await Promise.all(server.cancels)
    // While it was pinned nobody has followed what its code has set.
    const deep = look.settings || lease.pinned !== null
    const coded = deep ? await code.learn(question) : null
    const custom = new Set([
      ...look.names,
      ...(coded?.settings ?? []),
      ...server.settings.customNames,
    ])
    const rows = await question(
      deep ? thingsSql + settingsSql([...custom], server.settings) : thingsSql,
    )
    lease.look = null
    const [thing] = rows.flatMap(([kind]) => (isPin(kind) ? [kind] : []))
    if (deep) adopt(state, lease, rows)
    if (deep) countPrepared(server, rows)
    const unknowable = look.ran.some((name) => coded?.unknowable.has(name) === true)
    if (unknowable) lease.pinned = 'session state'
    if (isUnpinned(lease) || isPin(lease.pinned)) lease.pinned = thing ?? null
  } catch (error) {
    const { pinned } = lease
    if (server.closed) lease.look = null
    if (server.closed && !look.likely && !sets && pinned === null) return
    if (server.closed) throw pgError('sessionStateLost', [server.shard], { cause: error })
    // Whatever there is, it stays where it is until it can be looked at.
    lease.pinned ??= 'unknown session state'
  } finally {
    lease.looking = false
  }
  const { pin } = state.database.options
  if (lease.pinned !== null && pin === 'refuse') throw pgError('pinRefused', [lease.pinned])
}

/** Code may have done away with what its server is known to have. */
function countPrepared(server: ServerConnection, rows: readonly Row[]): void {
  const count = rows.find(([kind]) => kind === 'prepared')?.[1]
  if (Number(count ?? 0) < server.prepared.size) server.forgetPrepared()
}

/** Others may cancel it as well, and so may a short `statement_timeout`. */
async function askAgain(server: ServerConnection, sql: string): Promise<Answer> {
  for (let turn = 1; ; turn += 1) {
    try {
      return await ask(server, sql)
    } catch (error) {
      if (turn === turnsMax || toPgError(error).sqlstate !== '57014') throw error
    }
  }
}

const turnsMax = 3

const things: readonly PinReason[] = [
  'temporary table',
  'advisory lock',
  'cursor with hold',
  'PREPARE',
  'LISTEN',
]

/** A reason that looking finds, or finds gone. */
function isPin(reason: string | null | undefined): reason is PinReason {
  return things.some((thing) => thing === reason)
}

type Row = readonly (string | null)[]

/** What the server has in force is what the client has, whoever has set it. */
function adopt(state: SessionState, { server }: Lease, rows: readonly Row[]): void {
  const before = server.settings
  let settings = SettingsProfile.empty
  for (const [kind, name = null, value = null] of rows) {
    if (name === null) continue
    // Not shown to whom the session acts as.
    if (kind === 'hidden') settings = settings.with(name, before.get(name) ?? '')
    if (value === null) continue
    if (
      kind === 'setting' ||
      (kind === 'own setting' && (value !== '' || before.get(name) !== undefined))
    ) {
      if (isDefault(name, value, server.target.user)) continue
      const set = `SELECT pg_catalog.set_config(${quoteLiteral(name)}, ${quoteLiteral(value)}, false)`
      settings = settings.with(name.toLowerCase(), set)
    }
  }
  const found = settings.withOwnOf(state.settings)
  if (found.equals(before)) return
  state.settings = withStartup(found, state.startup)
  server.settings = found
}

/** What code has reset goes back to what the startup packet has asked for, which the server never heard of. */
function withStartup(found: SettingsProfile, startup: SettingsProfile): SettingsProfile {
  let settings = found
  for (const [name, sql] of startup.listed) {
    if (settings.get(name) === undefined) settings = settings.with(name, sql)
  }
  return settings
}

function isDefault(name: string, value: string, user: string): boolean {
  if (name === 'role') return value === 'none'
  return name === 'session_authorization' && value === user
}
