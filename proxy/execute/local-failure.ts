// A statement that the proxy has refused inside a transaction: the server is made to know of the failure, so that it answers
// what follows as PostgreSQL does, to the letter.
import { ask } from '../../pool/exchange.ts'
import type { Session } from '../session.ts'

// No grammar takes it: a server in a transaction says so, and takes nothing but the transaction's end from then on.
const noStatement = 'ringfence has refused a statement of this transaction'

/** Of a transaction on one server; where there are several, the proxy alone answers until its end. */
export async function failOnServer({ state, output }: Session): Promise<void> {
  const { transaction, database, leases } = state
  if (transaction === null || transaction.implicit || database.options.rules !== null) return
  const [shard, ...others] = transaction.participants.keys()
  const server = shard === undefined ? undefined : leases.get(shard)?.server
  if (others.length > 0 || server?.transactionStatus !== 'T' || server.exchangesOwed > 0) return
  await ask(server, noStatement).catch(() => undefined)
  // What the transaction has set is taken back with it.
  output.tellWhenReady(server.parameters)
}
