// Who hears of every statement: there is nobody unless slow statements are logged or statements are traced. Then the
// statement's text is kept until its answer is complete; else this costs one comparison.
import type { ClientCommand } from './intake.ts'
import type { Session } from './session.ts'

/** What a client asks to be run; its frames are views. */
export type WatchedCommand = Extract<ClientCommand, { kind: 'simple' | 'pipeline' }>

export interface StatementWatch {
  /** The client has asked for something. */
  began(session: Session, command: WatchedCommand): void
  /** ReadyForQuery goes to the client; `session.times` tells of the statement. */
  answered(session: Session): void
}
