// Moves in the catalog: what several runners note at the same time is kept.
import { afterEach, describe, expect, inject, it } from 'vitest'
import { createMove, noteProgress, readMove } from '../../catalog/move-store.ts'
import { initialise } from '../../catalog/migrate.ts'
import { vnode } from '../../core/ids.ts'
import { handOver } from '../../rebalancer/identities.ts'
import { defaultMoveOptions } from '../../rebalancer/run-move.ts'
import { type CatalogFixture, openFixture, rules } from './fixture.ts'

let fixture: CatalogFixture
afterEach(async () => await fixture.close())

describe.each(inject('servers'))('the progress of moves on PostgreSQL $version', (servers) => {
  it('keeps identities that another move handed over while its runner looked for its own', async () => {
    fixture = await openFixture(servers)
    const { shards } = fixture
    await initialise({ shards, rules })
    const { client } = shards[0]
    const plan = (from: number, to: number, at: number) =>
      createMove(client, {
        from: shards[from]?.id ?? shards[0].id,
        to: shards[to]?.id ?? shards[0].id,
        vnodes: [vnode(at)],
        keys: [],
        options: defaultMoveOptions,
      })
    const ending = await plan(0, 1, 1)
    const beginning = await plan(1, 2, 2)
    const set = (id: number, state: string) =>
      client.query('UPDATE ringfence.move SET state = $2 WHERE id = $1', [id, state])
    await noteProgress(client, ending, { identities: { 's1 a': 'default', 's2 a': 'default' } })
    await set(ending.id, 'completing')
    await set(beginning.id, 'preparing')
    const stale = await readMove(client, beginning.id)
    const restored: string[] = []
    await handOver(client, await readMove(client, ending.id), async (left) => {
      restored.push(...Object.keys(left))
    })
    await noteProgress(client, stale, { identities: { 's3 a': 'nothing' } })
    const { progress } = await readMove(client, beginning.id)
    expect(restored).toEqual(['s1 a'])
    expect(progress.identities).toEqual({ 's2 a': 'default', 's3 a': 'nothing' })
  })
})
