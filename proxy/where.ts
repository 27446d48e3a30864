// Where a planned statement can run as it is: on one shard, on any, or only with steps of our own.
import type { ShardId } from '../core/ids.ts'
import type { Plan, SessionCommand } from '../router/plan.ts'
import type { SessionState } from './session-state.ts'

/**
 * `(steps)`: answered by the proxy, or by several shards (execute/steps.ts). `(begin)`: a BEGIN, which takes no server
 * of its own but goes along with what comes with it. `(held)`: nowhere for now (move-gate.ts). `(unproven)`: to be asked
 * whether it gives still what its client goes by (execute/prove-columns.ts).
 */
export type Where =
  | '(nowhere)'
  | '(begin)'
  | '(any)'
  | '(steps)'
  | '(unproven)'
  | '(held)'
  | ShardId

/** Place where both can run in one go. */
export function mergeWhere(a: Where, b: Where): Where {
  if (a === b) return a
  const [weaker, stronger] = strength(a) < strength(b) ? [a, b] : [b, a]
  if (stronger === '(held)' || stronger === '(unproven)') return stronger
  return strength(weaker) < strengthOfShard ? stronger : '(steps)'
}

/** True when `where` names a shard. */
export function isShard(where: Where): where is ShardId {
  return !where.startsWith('(')
}

const strengthOfShard = 3

function strength(where: Where): number {
  switch (where) {
    case '(nowhere)':
      return 0
    case '(begin)':
      return 1
    case '(any)':
      return 2
    case '(steps)':
      return strengthOfShard + 1
    case '(unproven)':
      return strengthOfShard + 2
    case '(held)':
      return strengthOfShard + 3
    default:
      return strengthOfShard
  }
}

/** Where one planned statement goes, given what the transaction has touched. */
export function whereOf(plan: Plan, state: SessionState): Where {
  if (state.failure === 'server') return '(any)'
  if (isHeld(plan, state)) return '(held)'
  switch (plan.kind) {
    case 'single':
      if (plan.anyShard) return '(any)'
      return state.mayWrite(plan) ? plan.shard : '(steps)'
    case 'session':
      return commandWhere(plan.command, state)
    case 'scatter':
    case 'everywhere':
    case 'copyIn':
    case 'refuse':
      return '(steps)'
  }
}

/**
 * True when a move or a shard that joins has it wait, or the question what its transaction's
 * snapshots show.
 */
export function isHeld(plan: Plan, { database, leases, transaction }: SessionState): boolean {
  const { gate } = database
  if (gate === null) return false
  switch (plan.kind) {
    case 'single':
    case 'scatter':
      if (transaction?.keepsSnapshot === 'asked') return true
      return gate.holds(plan.moves, leases)
    case 'everywhere':
      // Who has been to all shards before is waited for by the move.
      if (transaction?.everywhere === true) return false
      // Foreign keys may take rows along, and behind the fence nobody would pass that on.
      return plan.joining || gate.holds(plan.moves, leases)
    case 'copyIn':
    case 'session':
    case 'refuse':
      return false
  }
}

function commandWhere(command: SessionCommand, state: SessionState): Where {
  const { transaction } = state
  const joined = transaction === null ? 0 : transaction.participants.size
  const only = transaction?.participants.keys().next().value
  switch (command.kind) {
    case 'begin':
      if (transaction === null) return '(begin)'
      return transaction.implicit ? '(steps)' : '(any)'
    case 'commit':
      if (command.chain && transaction?.implicit === true) return '(steps)'
      // A failure that the server does not know of must become a rollback: not its COMMIT.
      if (state.failure === 'local') return '(steps)'
      // DDL is followed by a look at the new schema.
      if (transaction?.schemaChanged === true && state.database.options.rules !== null) {
        return '(steps)'
      }
      if (transaction !== null && transaction.listens.length > 0) return '(steps)'
      return transactionEnd(transaction === null, joined, only)
    case 'rollback':
      if (command.chain && transaction?.implicit === true) return '(steps)'
      return transactionEnd(transaction === null, joined, only)
    case 'savepoint':
    case 'release':
    case 'rollbackTo':
      // Its server takes for a block what is none of the client's.
      if (state.failure === 'local' || transaction?.implicit === true) return '(steps)'
      return joined > 1 ? '(steps)' : '(any)'
    case 'set':
    case 'setLocal':
    case 'setConfig':
      if (state.failure === 'local') return '(steps)'
      return joined > 1 ? '(steps)' : '(any)'
    case 'reset':
      return joined > 1 || state.startup.get(command.name) !== undefined ? '(steps)' : '(any)'
    case 'resetAll':
      return joined > 1 || state.startup.key !== '' ? '(steps)' : '(any)'
    case 'empty':
      return state.failure === 'local' ? '(steps)' : '(any)'
    case 'deallocate':
      return knownToServer(command.name, state) ? '(any)' : '(steps)'
    case 'execute':
      return knownToServer(command.name, state) ? '(any)' : '(steps)'
    case 'notify':
      return state.failure === 'local' || state.listening?.isInUse === true
        ? '(steps)'
        : state.database.home
    case 'discardAll':
    case 'prepare':
    case 'listen':
    case 'unlisten':
    case 'listeningChannels':
    case 'explainRoute':
    case 'showRingfence':
    case 'setRingfence':
      return '(steps)'
  }
}

/** Without a transaction the server itself says the warning; with none joined there is nothing to end. */
function transactionEnd(outside: boolean, joined: number, only: ShardId | undefined): Where {
  if (outside) return '(any)'
  return joined === 1 && only !== undefined ? only : '(steps)'
}

/** Statements that a function has prepared are on the pinned server alone. */
function knownToServer(name: string | null, { leases, statements }: SessionState): boolean {
  return leases.pinReasons.includes('PREPARE') && (name === null || !statements.has(name))
}
