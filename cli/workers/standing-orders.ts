// Orders that stay in force, such as PAUSE: a worker that starts later, because another one has died, must begin with
// them. An order is taken back by its counterpart with the same arguments, or with fewer: RESUME of a database also
// ends the pause of one shard.

/** A command and what it is about. */
export type Order = { readonly name: string; readonly args: readonly string[] }

/** As the admin console calls them. */
const endedBy: ReadonlyMap<string, string> = new Map([
  ['admin resume', 'admin pause'],
  ['admin enable', 'admin disable'],
  ['admin pause', 'admin resume'],
  ['admin disable', 'admin enable'],
])
const standing = new Set(['admin pause', 'admin disable', 'admin set'])

/** Orders in force after `order` has been carried out. */
export function afterOrder(inForce: readonly Order[], { name, args }: Order): readonly Order[] {
  const ended = endedBy.get(name)
  if (ended === undefined && !standing.has(name)) return inForce
  const about = name === 'admin set' ? args.slice(0, 1) : args
  const kept = inForce.filter((each) => {
    const within = about.every((arg, at) => each.args[at] === arg)
    return !(within && (each.name === ended || each.name === name))
  })
  return standing.has(name) ? [...kept, { name, args }] : kept
}
