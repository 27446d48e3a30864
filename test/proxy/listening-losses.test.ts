// Whatever becomes of the connection that listens: what comes is in its sender's order and comes once, and where something is
// missing the client is told so.
import type { Client } from 'pg'
import { afterAll, beforeAll, expect, inject, it } from 'vitest'
import { askServer, connected, pause, present, until } from '../support/clients.ts'
import { type Stack, startStack } from '../support/stack.ts'

const servers = present(inject('servers')[0])
const senders = 3
const ears = 8
const rounds = 2
const warning = 'notifications may have been missed'

let stack: Stack
let admin: Client
beforeAll(async () => {
  stack = await startStack(servers, { shards: 1 })
  admin = await connected({ ...stack.proxy, database: 'ringfence' })
})
afterAll(async () => {
  await admin.end()
  await stack.close()
})

const home = () => present(stack.shardUrls[0])

type Ear = { readonly client: Client; readonly heard: string[] }

async function listener(): Promise<Ear> {
  const client = await connected(stack.proxy)
  const heard: string[] = []
  client.on('notification', ({ payload }) => heard.push(payload ?? ''))
  client.on('notice', ({ message }) => heard.push(message ?? ''))
  await client.query('LISTEN news')
  return { client, heard }
}

/** Sends until told to stop; gives the number of the last one. */
async function send(name: string, signal: AbortSignal): Promise<number> {
  const client = await connected({ connectionString: home() })
  let sent = 0
  while (!signal.aborted) {
    const rolledBack = sent % 5 === 4
    if (rolledBack) await client.query(`BEGIN; NOTIFY news, '${name} 0'; ROLLBACK`)
    sent += 1
    await client.query(`NOTIFY news, '${name} ${sent}'`)
    await pause(2)
  }
  await client.end()
  return sent
}

/** Begins to listen to something else again and again; gives what it was refused. */
async function toggle({ client }: Ear, signal: AbortSignal): Promise<unknown[]> {
  const refused: unknown[] = []
  while (!signal.aborted) {
    for (const sql of ['LISTEN other', 'UNLISTEN other']) {
      await client.query(sql).catch((error: unknown) => refused.push(error))
    }
    await pause(10)
  }
  return refused
}

const listenersEnd = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
  WHERE datname = current_database() AND pid <> pg_backend_pid() AND query ILIKE '%LISTEN %'`

const losses: readonly (() => Promise<unknown>)[] = [
  () => admin.query('RECONNECT'),
  async () => {
    await admin.query('PAUSE')
    await pause(20)
    await admin.query('RESUME')
  },
  async () => {
    await admin.query('SUSPEND')
    await pause(20)
    await admin.query('RESUME')
  },
  () => askServer(home(), listenersEnd),
]

/** What is wrong with what one of them has heard. */
function complaints(heard: readonly string[], lastOf: ReadonlyMap<string, number>): string[] {
  const latest = new Map<string, { readonly sent: number; readonly at: number }>()
  const wrong: string[] = []
  for (const [at, text] of heard.entries()) {
    if (text === warning) continue
    const [name = '', number = ''] = text.split(' ')
    const sent = Number(number)
    const before = latest.get(name)
    latest.set(name, { sent, at })
    if (before === undefined) continue
    if (sent <= before.sent) wrong.push(`${name}: ${before.sent}, then ${sent}`)
    // Once all channels are heard again: some have come before that.
    const around = heard.slice(Math.max(0, before.at - 20), at + 40)
    if (sent > before.sent + 1 && !around.includes(warning)) {
      wrong.push(`${name}: nothing was said of what is missing between ${before.sent} and ${sent}`)
    }
  }
  for (const [name, sent] of lastOf) {
    if (latest.get(name)?.sent !== sent) wrong.push(`${name}: the last one has not come`)
  }
  return wrong
}

it('nothing is lost without a word, nothing comes twice or out of order', async () => {
  const listening = await Promise.all(Array.from({ length: ears }, listener))
  const stop = new AbortController()
  const names = Array.from({ length: senders }, (_, at) => `s${at}`)
  const sending = Promise.all(names.map((name) => send(name, stop.signal)))
  const toggling = Promise.all(listening.slice(0, 2).map((ear) => toggle(ear, stop.signal)))
  for (let turn = 0; turn < rounds * losses.length; turn += 1) {
    await losses[turn % losses.length]?.()
    await pause(250)
  }
  await pause(500)
  stop.abort()
  const lastOf = new Map((await sending).map((sent, at) => [names[at] ?? '', sent]))
  expect(await toggling).toEqual([[], []])
  const hasAll = ({ heard }: Ear) =>
    [...lastOf].every(([name, sent]) => heard.includes(`${name} ${sent}`))
  await until('the last ones have come', () => listening.every(hasAll))
  expect(listening.flatMap(({ heard }) => complaints(heard, lastOf))).toEqual([])
  expect(listening.every(({ heard }) => heard.includes(warning))).toBe(true)
  await Promise.all(listening.map(({ client }) => client.end()))
})
