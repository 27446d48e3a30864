// Model check of session state: many clients over few servers do random things to their sessions, and
// each must find its own as one PostgreSQL session would have it (test/support/session-model.ts).
// RINGFENCE_STEPS=1000 sets the steps of each client, RINGFENCE_SEED repeats what each of them does.
import { expect, inject, it } from 'vitest'
import { askServer, present, rawClient, rowsOf, until, untilReady } from '../support/clients.ts'
import { textBytes } from '../support/frontend-bytes.ts'
import { createRandom, seedOf } from '../support/random.ts'
import type { Endpoint } from '../support/raw-connection.ts'
import type { StartupWish } from '../support/raw-login.ts'
import { SessionModel, type Settings } from '../support/session-model.ts'
import { readSettings, SessionWalk, settingNames } from '../support/session-walk.ts'
import { startStack } from '../support/stack.ts'

const runSeed = Number(process.env['RINGFENCE_SEED'] ?? Date.now() % 1_000_000_000)
const wishedSteps = process.env['RINGFENCE_STEPS']
const stepsMax = Number(wishedSteps ?? 250)
const timeMaxMs = wishedSteps === undefined ? 12_000 : 3_600_000
const clientCount = 40
const complaintsMax = 3

const wishes: readonly StartupWish['parameters'][] = [
  [],
  [['application_name', 'from the start']],
  [['options', '-c work_mem=3MB -c statement_timeout=90s']],
  [
    ['DateStyle', 'SQL, DMY'],
    ['TimeZone', 'America/New_York'],
  ],
]

/** What a session of PostgreSQL itself begins with. */
async function settingsAtStart(place: Endpoint, wish: Partial<StartupWish>): Promise<Settings> {
  const { connection } = await rawClient(place, wish)
  connection.send(textBytes('Q', readSettings))
  const [row = []] = rowsOf(await untilReady(connection))
  connection.destroy()
  return new Map(settingNames.map((name, at) => [name, row[at] ?? '']))
}

it('40 clients over 4 servers each have the session that PostgreSQL would give them', {
  timeout: timeMaxMs + 60_000,
}, async () => {
  const stack = await startStack(present(inject('servers')[0]), { shards: 1, pool: { size: 4 } })
  const pins = { left: 2 }
  const walks = await Promise.all(
    Array.from({ length: clientCount }, async (_, number) => {
      const wish = { parameters: present(wishes[number % wishes.length]) }
      const model = new SessionModel(await settingsAtStart(stack.direct, wish))
      const client = await rawClient(stack.proxy, wish)
      const random = createRandom(seedOf(runSeed, number))
      return new SessionWalk({ client, model, random, pins, number })
    }),
  )
  const complaints: string[] = []
  const endMs = performance.now() + timeMaxMs
  let taken = 0
  const run = async (walk: SessionWalk, number: number): Promise<void> => {
    for (let step = 0; step < stepsMax && performance.now() < endMs; step += 1) {
      const wrong = await walk.step()
      if (wrong !== '') complaints.push(`client ${number}, step ${step}: ${wrong}`)
      if (wrong !== '' || complaints.length >= complaintsMax) break
      taken += 1
    }
    await walk.end()
  }
  try {
    await Promise.all(walks.map(run))
    process.stdout.write(`session model: seed ${runSeed}, ${taken} steps\n`)
    expect(complaints, `RINGFENCE_SEED=${runSeed}`).toEqual([])
    expect(taken).toBeGreaterThan(clientCount)
    await until('the servers are back', () => stack.poolStats().leased === 0)
    const locks = `SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database
                   WHERE locktype = 'advisory' AND datname = current_database()`
    expect(await askServer(stack.shardUrls[0] ?? '', locks)).toEqual(['0'])
  } finally {
    await stack.close()
  }
})
