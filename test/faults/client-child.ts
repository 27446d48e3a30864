// Clients in a process of their own, that is killed once all have come to where they stop: see client-kills.ts.
import { rawClient, untilReady } from '../support/clients.ts'
import { textBytes } from '../support/frontend-bytes.ts'
import type { Place } from '../support/stack.ts'
import { conversations } from './conversation.ts'
import { playUntil, type Stop } from './play.ts'
import { markSql } from './rest.ts'

/** Who they are and how far they go. */
export type ClientsOrder = {
  readonly place: Place
  readonly clients: readonly {
    readonly conversation: string
    readonly id: string
    readonly stop: Stop
    readonly waits: boolean
  }[]
}

const { place, clients }: ClientsOrder = JSON.parse(process.argv[2] ?? '')
await Promise.all(
  clients.map(async ({ conversation, id, stop, waits }) => {
    const found = conversations.find(({ name }) => name === conversation)
    if (found === undefined) throw new Error(`there is no conversation ${conversation}`)
    const { connection } = await rawClient(place)
    connection.send(textBytes('Q', markSql))
    await untilReady(connection)
    await playUntil(connection, found.turns(id), { stop, waits })
  }),
)
process.send?.('there')
// Whoever started it is gone.
process.on('disconnect', () => process.exit())
