// Faults that can be planted into the simulated world, to show that the simulation would find them in the real one.

export const mutations = {
  acknowledgementSkipped: 'the mover does not wait for proxies',
  deletedUnacknowledged: 'rows are deleted before the proxies have said that they ask elsewhere',
  fenceDropped: 'the database rejects nothing',
  fromLsnIgnored: 'changes are applied that the copy has already',
  leaseIgnored: 'a proxy goes on however long the catalog has not heard of it',
  leaseRenewedEarly: 'a lease is renewed before what was missed is read',
  leaseCheckedEarly: 'a scattered read is not looked at again after it has waited for servers',
  seenTooSoon: 'a proxy says that it goes by a topology while older work is under way',
  hiddenShown: 'scattered reads do not leave out rows of others',
  notHeld: 'a proxy does not hold keyed statements at the switch',
  notDrained: 'the switch does not wait for the end of the log',
  snapshotOlder: 'rows are copied as they were before the position that is told of them',
  positionApart: 'the position is not recorded in the transaction that applies',
  positionForgotten: 'a follower that connects again begins at its start',
  planKept: 'what was held is sent where it was planned to go',
  runnersNotNumbered: 'a shard takes orders from a runner that was replaced',
  sessionsNotEnded: 'what an earlier session has sent is done when it arrives',
  kept: 'the rows of the side that lost are not deleted',
} as const

export type Mutation = keyof typeof mutations

/** True when `text` names one. */
export function isMutation(text: string): text is Mutation {
  return Object.hasOwn(mutations, text)
}
