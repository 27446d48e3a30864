// Statements written down one by one (nasty/*.txt), each with what must become of it.
import { readdirSync, readFileSync } from 'node:fs'
import { afterAll, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest'
import { type Arena, openArena } from './arena.ts'
import { type NastyCase, parseCases } from './nasty-cases.ts'

const folder = `${import.meta.dirname}/nasty`
const groups = readdirSync(folder).map((file) => ({
  group: file.replace('.txt', ''),
  cases: parseCases(readFileSync(`${folder}/${file}`, 'utf8')),
}))

describe.each(inject('servers'))('nasty statements on PostgreSQL $version', (servers) => {
  let arena: Arena
  beforeAll(async () => {
    arena = await openArena(servers)
  })
  afterAll(async () => arena.close())
  beforeEach(async () => arena.reset())

  async function play({ steps }: NastyCase): Promise<void> {
    const told: string[] = []
    for (const { statement, expected } of steps) {
      const verdict = await arena.pair.run(statement)
      const detail = 'what' in verdict ? verdict.what : 'message' in verdict ? verdict.message : ''
      told.push(`${statement.sql} → ${verdict.kind} ${detail}`)
      if (verdict.kind !== expected) throw new Error(`not ${expected}:\n${told.join('\n')}`)
    }
    await arena.pair.settle()
    expect(await arena.contents.faults()).toEqual([])
  }

  describe.each(groups)('$group', ({ cases }) => {
    const known = cases.filter(({ version }) => servers.version >= version)
    it.each(known)('$name', play)
  })

  it('are many', () => {
    const count = groups.reduce((sum, { cases }) => sum + cases.length, 0)
    expect(count).toBeGreaterThan(350)
  })
})
