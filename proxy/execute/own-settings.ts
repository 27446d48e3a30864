// SHOW, SET and RESET of ringfence.…, which no server ever hears of, also as set_config() and current_setting().
import { pgError } from '../../core/errors.ts'
import { encodeToken } from '../../core/session-token.ts'
import type { SessionCommand } from '../../router/plan.ts'
import { checkOwnName, checkOwnSetting, ownNames } from '../own-settings.ts'
import type { Session } from '../session.ts'
import { scalar } from '../scalar.ts'
import { complete, sendRows } from './local-replies.ts'
import type { Unit } from './unit.ts'

type Show = Extract<SessionCommand, { kind: 'showRingfence' }>
type SetOwn = Extract<SessionCommand, { kind: 'setRingfence' }>

/** @throws PgError 42704 for a name that is not one of ours, 57P03 for a token that cannot be told now. */
export async function runShowRingfence(session: Session, unit: Unit, show: Show): Promise<void> {
  const { name, asFunction } = show
  const value = await valueOf(session, name)
  if (value === undefined && asFunction?.missingOk !== true)
    throw pgError('undefinedSetting', [name])
  const columns = [asFunction?.column ?? name]
  const tag = asFunction === undefined ? 'SHOW' : 'SELECT 1'
  sendRows(session, unit, { columns, rows: [[value ?? null]], tag })
}

async function valueOf(session: Session, name: string): Promise<string | undefined> {
  const { database, leases, reads, effective } = session.state
  const { options } = database
  switch (name) {
    case 'ringfence.epoch':
      return String(database.topology.epoch)
    case 'ringfence.shards':
      return database.shards.join(', ')
    case 'ringfence.pins':
      return leases.pinReasons.join(', ')
    case ownNames.target:
      return effective.own(name) ?? (reads.readOnly ? 'replica' : options.reads.target)
    case ownNames.consistency:
      return effective.own(name) ?? options.reads.consistency
    case ownNames.partial:
      return effective.own(name) ?? 'off'
    case ownNames.sessionId:
      return effective.own(name) ?? ''
    case ownNames.sessionToken:
      return encodeToken(await reads.settled(), session.context.tokenKey, options.name)
    default:
      return undefined
  }
}

/** @throws PgError 22023 for a value that the setting does not take */
export function runSetRingfence(session: Session, unit: Unit, command: SetOwn): void {
  const { name } = command
  const { state } = session
  const asked = command.value === null ? null : (scalar(command.value, unit.params) ?? '')
  const local = typeof command.local === 'boolean' ? command.local : isTrue(command.local, unit)
  let value = asked
  checkOwnName(name)
  if (name === ownNames.sessionToken) mergeToken(session, asked)
  else {
    value = asked === null ? null : checkOwnSetting(name, asked)
    if (name === ownNames.sessionId && value !== null && state.database.tokens === null) {
      throw pgError('sessionIdsUnavailable')
    }
    state.setOwn(name, value, local)
  }
  if (command.asFunction) {
    sendRows(session, unit, { columns: [command.column], rows: [[value]], tag: 'SELECT 1' })
  } else complete(session, unit, command.value === null ? 'RESET' : 'SET')
}

/** Tokens are merged, never taken back: only a session that begins anew forgets what it has seen. */
function mergeToken(session: Session, text: string | null): void {
  const { reads } = session.state
  if (text === null) reads.forget()
  else reads.mergeToken(text, session.context.tokenKey)
}

function isTrue(source: Exclude<SetOwn['local'], boolean>, { params }: Unit): boolean {
  return /^(?:t|true|y|yes|on|1)$/i.test(scalar(source, params) ?? '')
}
