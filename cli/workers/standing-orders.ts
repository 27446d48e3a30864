// Orders that stay in force, such as PAUSE: a worker that starts later, because another one has died, must begin with
// them. An order is taken back by its counterpart with the same arguments, or with fewer: RESUME of a database also
// ends the pause of one shard. RELOAD takes every SET back, and a database that KILL has emptied is paused.

/** A command and what it is about. */
export type Order = { readonly name: string; readonly args: readonly string[] }

/** As the admin console calls them. */
const endedBy: ReadonlyMap<string, string> = new Map([
  ['admin resume', 'admin pause'],
  ['admin enable', 'admin disable'],
  ['admin pause', 'admin resume'],
  ['admin disable', 'admin enable'],
  ['admin reload', 'admin set'],
])
/** What a command leaves behind where it is not the command itself. */
const standsAs: ReadonlyMap<string, string> = new Map([['admin kill', 'admin pause']])
const standing = new Set(['admin pause', 'admin disable', 'admin set'])

/** Orders in force after `order` has been carried out. */
export function afterOrder(inForce: readonly Order[], given: Order): readonly Order[] {
  const { args } = given
  const name = standsAs.get(given.name) ?? given.name
  const ended = endedBy.get(name)
  if (ended === undefined && !standing.has(name)) return inForce
  const about = name === 'admin set' ? args.slice(0, 1) : args
  const kept = inForce.filter((each) => {
    return !(hasPrefix(each.args, about) && (each.name === ended || each.name === name))
  })
  return standing.has(name) ? [...kept, { name, args }] : kept
}

/**
 * Orders in force after `failed`, which was given when those of `before` were: what it took back is in force again, and
 * what others have ordered meanwhile stays.
 */
export function afterFailure(
  inForce: readonly Order[],
  before: readonly Order[],
  failed: Order,
): readonly Order[] {
  const has = (orders: readonly Order[], order: Order) => orders.some((each) => isSame(each, order))
  const tried = afterOrder(before, failed)
  const own = tried.filter((each) => !has(before, each))
  // Whoever has taken it back meanwhile would have taken back these, too.
  if (own.some((each) => !has(inForce, each))) return inForce
  const ended = before.filter((each) => !has(tried, each))
  return [...inForce.filter((each) => !has(own, each)), ...ended]
}

function isSame(a: Order, b: Order): boolean {
  return a.name === b.name && a.args.length === b.args.length && hasPrefix(a.args, b.args)
}

function hasPrefix(args: readonly string[], prefix: readonly string[]): boolean {
  return prefix.every((arg, place) => args[place] === arg)
}
