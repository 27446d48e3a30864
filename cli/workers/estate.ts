// What one generation of the proxy leaves to the next one: the sockets that clients connect to, with everybody who
// stands in their queues, and the numbers that it goes on using. Descriptors are inherited in a fixed order, the rest
// is told in the environment.
import { z } from 'zod'
import { firstInherited } from './child.ts'
import type { Order } from './standing-orders.ts'

/** Descriptors are numbers of the process that has the estate. */
export type Estate = {
  readonly tcp: readonly number[]
  readonly port: number
  readonly unix: number | null
  readonly http: number | null
  /** Of processes that are still there: their cancel keys name them. */
  readonly slots: readonly number[]
  /** Orders in force, such as PAUSE. */
  readonly standing: readonly Order[]
}

const variable = 'RINGFENCE_INHERITS'

const told = z.object({
  tcp: z.number(),
  port: z.number(),
  unix: z.boolean(),
  http: z.boolean(),
  slots: z.array(z.number()),
  standing: z.array(z.object({ name: z.string(), args: z.array(z.string()) })),
})

/** How a child is told of it. */
export function bequeath(estate: Estate): {
  readonly inherits: readonly number[]
  readonly env: Readonly<Record<string, string>>
} {
  const { tcp, port, unix, http, slots, standing } = estate
  const single = [unix, http].filter((fd) => fd !== null)
  const text: z.input<typeof told> = {
    tcp: tcp.length,
    port,
    unix: unix !== null,
    http: http !== null,
    slots: [...slots],
    standing: standing.map(({ name, args }) => ({ name, args: [...args] })),
  }
  return { inherits: [...tcp, ...single], env: { [variable]: JSON.stringify(text) } }
}

/** What this process was left; null when it is the first. Children of its own do not inherit it again by accident. */
export function inherited(env: NodeJS.ProcessEnv): Estate | null {
  const text = env[variable]
  delete env[variable]
  if (text === undefined) return null
  const { tcp: count, port, unix, http, slots, standing } = told.parse(JSON.parse(text))
  const tcp = Array.from({ length: count }, (_, at) => firstInherited + at)
  const next = firstInherited + count
  return {
    tcp,
    port,
    unix: unix ? next : null,
    http: http ? next + Number(unix) : null,
    slots,
    standing,
  }
}

/** Numbers below `limit` that nobody has, `count` of them. @throws Error when too many generations are there */
export function freeSlots(taken: readonly number[], count: number, limit: number): number[] {
  const free: number[] = []
  for (let slot = 0; slot < limit && free.length < count; slot += 1) {
    if (!taken.includes(slot)) free.push(slot)
  }
  if (free.length < count) throw new Error('too many former processes still have clients')
  return free
}
