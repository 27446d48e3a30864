// What a running proxy keeps of its file when one setting of it is changed.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { ConfigReload, readVersion } from '../../cli/reload.ts'
import type { Config } from '../../config/config.ts'

let dir: string | null = null
afterEach(async () => {
  if (dir !== null) await rm(dir, { recursive: true })
})

describe('a setting that is changed by SET', () => {
  it('leaves a password alone that looks like a reference to the environment', async () => {
    dir = await mkdtemp(join(tmpdir(), 'ringfence-reload-'))
    const file = join(dir, 'ringfence.yaml')
    await writeFile(
      file,
      `users: [{ name: app, password: 'pen$\${HOME}$$\${x' }]
databases: { app: { shards: [{ id: s1, primary: postgres://u:p@h/app }] } }
`,
    )
    const applied: Config[] = []
    const texts: string[] = []
    const reload = new ConfigReload(await readVersion(file), async (config, text) => {
      applied.push(config)
      texts.push(text)
    })
    await reload.set('log.level', 'debug')
    expect(applied.map(({ users }) => users[0]?.secret)).toEqual([
      { kind: 'password', password: 'pen${HOME}$${x' },
    ])
    // Other processes are given the text.
    await reload.run(texts[0])
    expect(applied[1]?.users).toEqual(applied[0]?.users)
  })
})
