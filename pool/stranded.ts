// Connections that will never be answered, though nobody has closed them: the network swallows what is sent, or the
// machine behind it was replaced. What waits on them would wait for hours, as long as TCP does. Pure.
import { unreachable } from '../core/assert.ts'
import type { HostStatus } from './host-monitor.ts'
import type { ServerConnection, ServerTarget } from './server-connection.ts'

/** How long a server may be down before connections to it are given up. */
export type Patience = {
  /** What it was asked may have taken effect, or the client has a part of the answer. */
  readonly waitMs: number
  /** A read that nothing was said to yet: somebody else can answer it. */
  readonly silentMs: number
}

type Stranded = Pick<ServerConnection, 'incarnation' | 'silent'> & {
  readonly target: Pick<ServerConnection['target'], 'role'>
}

/** Why a connection to a host in that state is of no use any more; null: it is, or may be yet. */
export function strandedBecause(
  { target, incarnation, silent }: Stranded,
  status: HostStatus,
  nowMs: number,
  { waitMs, silentMs }: Patience,
): string | null {
  switch (status.kind) {
    case 'down': {
      const patienceMs = target.role === 'replica' && silent ? silentMs : waitMs
      return nowMs - status.sinceMs < patienceMs ? null : status.reason
    }
    case 'up':
      if (incarnation === '' || incarnation === status.sample.incarnation) return null
      return 'its server has restarted'
    case 'refused':
    case 'unknown':
      return null
    default:
      return unreachable(status)
  }
}

/** True when both lead to the same address, or both nowhere. */
export function isSamePlace(a: ServerTarget | null, b: ServerTarget | null): boolean {
  return a?.host === b?.host && a?.port === b?.port
}
