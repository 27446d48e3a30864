// Simple queries sent as prepared statements (`pool.auto_prepare`): PostgreSQL then parses and plans a statement once for
// all its values. The client gets what it would get for a simple query. Only outside transactions: an error that might
// be worded otherwise, or point elsewhere, is then asked for again by the query as it came (proxy/repeats.ts).
import type { ServerConnection } from '../../pool/server-connection.ts'
import type { CachedStatement } from '../../pool/statement-cache.ts'
import type { AutoPrepare } from '../../router/auto-prepare.ts'
import {
  writeBind,
  writeDescribe,
  writeExecute,
  writeParse,
  writeSync,
} from '../../wire/frontend.ts'
import type { SimpleQuery } from '../query.ts'
import type { Session } from '../session.ts'
import { scopeOf } from '../statements.ts'
import { evict } from './single.ts'

/** A simple query in the words of the extended protocol. */
export type Reworded = {
  readonly auto: AutoPrepare
  readonly cached: CachedStatement
  readonly values: readonly Uint8Array[]
  /** It may fail at its commit. */
  readonly writes: boolean
}

type Interned = { readonly scope: string; readonly cached: CachedStatement }

const interned = new WeakMap<AutoPrepare, Interned>()

/** How the query is sent prepared; null: as it came. To be asked once for each run. */
export function reworded(session: Session, query: SimpleQuery): Reworded | null {
  const { state, repeats } = session
  if (!state.database.options.autoPrepare || state.transaction !== null) return null
  const { prepared, plans, effects } = query
  const auto = prepared?.statements[0]?.shape.autoPrepare
  if (prepared === null || auto === undefined || auto === null) return null
  if (repeats.hasRun) return null
  if (plans.length !== 1 || plans[0]?.kind !== 'single' || effects[0] !== null) return null
  if (state.dialect.differs || !auto.isWorthwhile()) return null
  const values = auto.valuesOf(prepared.literals)
  const { writes } = query
  return values === null ? null : { auto, cached: cachedOf(session, auto), values, writes }
}

function cachedOf({ state }: Session, auto: AutoPrepare): CachedStatement {
  const scope = scopeOf(state.reading.settings)
  const known = interned.get(auto)
  if (known?.scope === scope) return known.cached
  const cached = state.database.statements.intern(auto.sql, auto.types, scope)
  interned.set(auto, { scope, cached })
  return cached
}

/** Sends the query; the relay's exchange is opened. */
export function sendReworded(
  session: Session,
  server: ServerConnection,
  { cached, values, writes }: Reworded,
): void {
  const { relay, replies } = session
  const { writer } = session.context
  writer.reset()
  relay.open(server)
  evict(session, server, writer)
  if (!server.prepared.has(cached.name)) {
    writeParse(writer, cached.name, cached.sql, cached.paramTypes)
    server.prepared.set(cached.name, cached)
    replies.parses.push(cached.name)
    relay.expect('swallowParse')
  }
  const bind = { portal: '', statement: cached.name, paramFormats: [], resultFormats: [] }
  writeBind(writer, { ...bind, params: values })
  relay.expect('swallowBind')
  writeDescribe(writer, 'P', '')
  relay.expect('describeRows')
  writeExecute(writer, '', 0)
  relay.expect(writes ? 'executeAndCommit' : 'execute')
  writeSync(writer)
  relay.expect('sync')
  server.send(writer.bytes())
}
