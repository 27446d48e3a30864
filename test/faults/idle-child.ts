// Idle clients in a process of their own, so that what they cost it does not count: see idle-crowd.ts.
import { rawClient, untilReady } from '../support/clients.ts'
import { textBytes } from '../support/frontend-bytes.ts'
import type { RawConnection } from '../support/raw-connection.ts'
import type { Place } from '../support/stack.ts'

/** Where they log in, and how many they are. */
export type CrowdOrder = { readonly place: Place; readonly count: number }

const loginsAtOnce = 50
const { place, count }: CrowdOrder = JSON.parse(process.argv[2] ?? '')
const crowd: RawConnection[] = []
while (crowd.length < count) {
  const batch = Array.from({ length: Math.min(loginsAtOnce, count - crowd.length) }, async () => {
    const { connection } = await rawClient(place)
    connection.send(textBytes('Q', 'SELECT 1'))
    await untilReady(connection)
    return connection
  })
  crowd.push(...(await Promise.all(batch)))
}
process.on('message', (order) => {
  if (order === 'count') process.send?.(crowd.filter(({ closed }) => !closed).length)
  if (order === 'vanish') for (const connection of crowd) connection.reset()
})
// Whoever started it is gone, or wants no more of it.
process.on('disconnect', () => process.exit())
process.send?.('there')
