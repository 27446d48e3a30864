// Clients that die at every byte that matters of every conversation: what they had begun is undone, their server is clean
// or closed, nobody else notices.
import { rawClient, untilReady, value, withClient } from '../support/clients.ts'
import { textBytes } from '../support/frontend-bytes.ts'
import type { Stack } from '../support/stack.ts'
import { type Conversation, conversations } from './conversation.ts'
import { play, playUntil, type Stop, stopsOf } from './play.ts'
import { newReport, type Report, type Share, tally } from './report.ts'
import { markSql, notAtRest } from './rest.ts'

/** A stack whose setup is `conversationSetup` and where clients are trusted. `name` makes rows unique. */
export async function cutClients(stack: Stack, name: string, share: Share): Promise<Report> {
  const report = newReport(`clients that die (${name})`)
  await withClient(stack.proxy, async (bystander) => {
    for (const conversation of conversations) {
      const messages = conversation.turns('').flatMap((turn) => turn.messages)
      for (const [at, stop] of stopsOf(messages).entries()) {
        for (const waits of [true, false]) {
          if (!share()) continue
          const id = `${name}-${conversation.name}-${at}-${waits}`
          const wrong = await cutOne(stack, conversation, { id, stop, waits })
          const rest = await notAtRest(stack, bystander)
          const found = await value(bystander, `SELECT count(*) FROM kept WHERE id = '${id}'`)
          const kept = wrongRow(conversation, { stop, waits, found })
          const complaint = wrong ?? rest ?? kept
          if (complaint !== null) report.complaints.push(`${id}: ${complaint}`)
          tally(report, `row there ${found}`)
        }
      }
    }
  })
  return report
}

async function cutOne(
  stack: Stack,
  conversation: Conversation,
  { id, stop, waits }: { readonly id: string; readonly stop: Stop; readonly waits: boolean },
): Promise<string | null> {
  const { connection } = await rawClient(stack.proxy)
  connection.send(textBytes('Q', markSql))
  await untilReady(connection)
  const told = await playUntil(connection, conversation.turns(id), { stop, waits })
  connection.destroy()
  const whole = told !== null && !told.complete
  return whole && !conversation.name.includes('given up')
    ? `${told.codes} ${told.sqlstate} ${told.message}`
    : null
}

/** A client that stopped there: its row may not be there, or has to be. Null: it is as it should. */
export function wrongRow(
  { commits, turns }: Conversation,
  {
    stop,
    waits,
    found,
  }: { readonly stop: Stop; readonly waits: boolean; readonly found: string | null },
): string | null {
  const all = turns('').flatMap(({ messages }) => messages).length
  if (commits === null || stop.messages < commits) {
    // A pipeline whose Sync is missing may have been executed, but not committed.
    return found === '0' ? null : `its row is there after ${stop.messages} messages`
  }
  return waits && stop.messages === all && found !== '1' ? 'its row is missing' : null
}

/** Plays every conversation to its end, for what it should look like; complaints where one fails. */
export async function playWhole(stack: Stack, name: string): Promise<Report> {
  const report = newReport(`whole conversations (${name})`)
  for (const { name: what, turns } of conversations) {
    const { connection } = await rawClient(stack.proxy)
    const told = await play(connection, turns(`${name}-whole-${what}`))
    connection.destroy()
    tally(report, told.complete ? 'complete' : `SQLSTATE ${told.sqlstate}`)
    const expected = what.includes('given up') ? '57014' : null
    if (told.sqlstate !== expected) report.complaints.push(`${what}: ${told.codes} ${told.message}`)
  }
  return report
}
