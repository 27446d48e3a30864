// What a session is made of once its client has logged in.
import type { Socket } from 'node:net'
import type { Outbox } from '../pool/outbox.ts'
import type { SettingsProfile } from '../pool/settings-profile.ts'
import type { Framer } from '../wire/framer.ts'
import type { Database } from './database.ts'
import type { Credentials } from './database-options.ts'
import type { ReportedParameters } from './login-reports.ts'
import type { Session } from './session.ts'
import type { SessionLimits } from './session-limits.ts'

export type SessionOptions = {
  readonly socket: Socket
  readonly framer: Framer
  readonly outbox: Outbox
  readonly database: Database
  readonly client: Credentials
  readonly startup: SettingsProfile
  /** Logged in by the name under which the database is read-only. */
  readonly readOnly: boolean
  readonly reported: ReportedParameters
  readonly limits: SessionLimits
  readonly closed: (session: Session) => void
}
