// Client processes that are killed while their connections are at every message boundary of every conversation: the kernel
// closes those, and the proxy undoes what they had begun. Several connections die with each process.
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { value, withClient } from '../support/clients.ts'
import type { Stack } from '../support/stack.ts'
import type { ClientsOrder } from './client-child.ts'
import { wrongRow } from './client-cuts.ts'
import { type Conversation, conversations } from './conversation.ts'
import { type Stop, stopsOf } from './play.ts'
import { newReport, type Report, type Share, tally } from './report.ts'
import { notAtRest, notReleased } from './rest.ts'

/** Connections that die together. */
export const clientsPerProcess = 12

type Case = {
  readonly conversation: Conversation
  readonly stop: Stop
  readonly waits: boolean
  readonly id: string
}

/** A stack where clients are trusted, with a server for each of them. */
export async function killClients(stack: Stack, name: string, share: Share): Promise<Report> {
  const report = newReport(`client processes that are killed (${name})`)
  const cases = casesOf(name).filter(share)
  await withClient(stack.proxy, async (bystander) => {
    for (let at = 0; at < cases.length; at += clientsPerProcess) {
      const group = cases.slice(at, at + clientsPerProcess)
      await dieTogether(stack, group)
      const rest = await notAtRest(stack, bystander)
      const released = await notReleased(stack.shardUrls[0] ?? '')
      const wrong = rest ?? released
      if (wrong !== null) report.complaints.push(`${group[0]?.id} and those after it: ${wrong}`)
      for (const { conversation, stop, waits, id } of group) {
        const found = await value(bystander, 'SELECT count(*) FROM kept WHERE id = $1', [id])
        tally(report, `row there ${found}`)
        const kept = wrongRow(conversation, { stop, waits, found })
        if (kept !== null) report.complaints.push(`${id}: ${kept}`)
      }
    }
  })
  return report
}

function casesOf(name: string): readonly Case[] {
  return conversations.flatMap((conversation) => {
    const stops = stopsOf(conversation.turns('').flatMap((turn) => turn.messages))
    return stops.flatMap((stop, at) =>
      [true, false].map((waits) => {
        const id = `${name}-killed-${conversation.name}-${at}-${waits}`
        return { conversation, stop, waits, id }
      }),
    )
  })
}

async function dieTogether({ proxy }: Stack, group: readonly Case[]): Promise<void> {
  const clients = group.map(({ conversation, ...others }) => {
    return { ...others, conversation: conversation.name }
  })
  const order: ClientsOrder = { place: proxy, clients }
  const child = fork(new URL('client-child.ts', import.meta.url), [JSON.stringify(order)])
  const ended = once(child, 'exit')
  try {
    await Promise.race([once(child, 'message'), failed(child)])
  } finally {
    child.kill('SIGKILL')
    await ended
  }
}

async function failed(child: ChildProcess): Promise<never> {
  await once(child, 'exit')
  throw new Error('the clients have ended before they were where they stop')
}
