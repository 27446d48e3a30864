// Which errors of a read are worth running it again elsewhere: those that tell of the server, not of the statement.
// Only reads outside transactions, of which the client has seen nothing yet, are run again.

/**
 * Stands for the SQLSTATE of a move's fence, which says that the statement went by an old topology
 * and did nothing.
 */
export const fenceError = 'fence'

// Conflicts with recovery (manual, 26.4.2): the replica had to go on.
const conflicts = new Set(['40001', '40P01'])
// What a replica cannot do, or does not know yet: the primary can, or says the same.
const unable = new Set(['25006', '0A000', '55000'])

/** True for errors of a server that stops, starts or fails. */
export function isGone(sqlstate: string): boolean {
  return /^(?:57P|08|58)/.test(sqlstate)
}

/**
 * True for errors whose message or position tells of the words that a statement was sent in: syntax, names, types, values.
 * Before it is `bound`, whatever its values have met: a domain's check runs code. Nothing that tells of the server.
 */
export function isOfWords(sqlstate: string, bound: boolean): boolean {
  if (!bound) return !/^(?:08|40|53|55|57|58)/.test(sqlstate)
  return /^(?:0A|22|26|42)/.test(sqlstate)
}

/** What to do after a replica's error: run the read on another replica, on the primary, or tell the client. */
export function afterReplica(sqlstate: string): 'another' | 'primary' | 'tell' {
  if (conflicts.has(sqlstate) || isGone(sqlstate)) return 'another'
  if (unable.has(sqlstate) || /^(?:42|XX)/.test(sqlstate)) return 'primary'
  return 'tell'
}
