// A user without limits of his own, for tests to add some.
import type { UserLimits } from '../../proxy/session-limits.ts'

export const noLimits: UserLimits = {
  mode: null,
  size: null,
  reserve: null,
  serverConnectionsMax: null,
  clientConnectionsMax: null,
  queryTimeoutMs: null,
  queryWaitTimeoutMs: null,
  transactionTimeoutMs: null,
  idleTransactionTimeoutMs: null,
  clientIdleTimeoutMs: null,
}
