// The example of docs/consistency.md with an ORM, two of it before a proxy each: a user sees through one what he has
// done through the other, as long as he brings his cookie.
import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readPage } from '../docs/markdown.ts'
import { present, withClient } from '../support/clients.ts'
import { type ReplicatedStack, startReplicatedStack } from '../support/replicated-stack.ts'
import { type Target, urlOf } from './program.ts'

const file = join(import.meta.dirname, 'token-cookie.ts')
/** Far longer than the tests take. */
const delayMs = 60_000

describe('a web application that keeps the session token in a cookie', () => {
  let stack: ReplicatedStack
  const applications: Application[] = []

  beforeAll(async () => {
    stack = await startReplicatedStack({
      shards: 1,
      replicas: 1,
      proxies: 2,
      setupSql: 'CREATE TABLE tenants (tenant_id bigint PRIMARY KEY, name text NOT NULL)',
      reads: { maxLagMs: null },
    })
    await withClient(stack.place(0), (client) =>
      client.query(`INSERT INTO tenants VALUES (1, 'before')`),
    )
    const [shard] = stack.shards
    const replica = present(shard?.replicas[0])
    await shard?.untilReplayed(replica)
    await shard?.delayReplay(replica, delayMs)
    for (const at of [0, 1]) applications.push(await Application.start(stack.place(at)))
  })
  afterAll(async () => {
    for (const application of applications) application.stop()
    await stack?.stop()
  })

  it('is what the page shows', () => {
    const { fences } = readPage('docs/consistency.md')
    const shown = fences.find(({ info }) => info === 'ts file=../test/clients/token-cookie.ts')
    expect(shown?.text).toBe(readFileSync(file, 'utf8'))
  })

  it('shows a user what he has done through another proxy, and others what replicas have', async () => {
    const [first, second] = applications.map(({ url }) => `${url}/tenants/1`)
    const saved = await fetch(present(first), { method: 'PUT', body: 'after' })
    expect(await saved.text()).toBe('saved')
    const cookie = present(saved.headers.getSetCookie()[0]).replace(/;.*/, '')
    expect(cookie).toMatch(/^rf=rf1\./)
    const own = await fetch(present(second), { headers: { cookie } })
    expect(await own.text()).toBe('after')
    expect(own.headers.getSetCookie()[0]).toMatch(/^rf=rf1\./)
    expect(await (await fetch(present(second))).text()).toBe('before')
  })

  it('refuses a cookie that was made up', async () => {
    const [first] = applications
    const response = await fetch(`${first?.url}/tenants/1`, { headers: { cookie: 'rf=rf1.AAAA' } })
    expect(response.status).toBe(500)
  })
})

/** The program, listening. */
class Application {
  readonly url: string
  readonly #child: ChildProcess

  private constructor(child: ChildProcess, port: string) {
    this.#child = child
    this.url = `http://127.0.0.1:${port}`
  }

  static async start(target: Target): Promise<Application> {
    const env = { ...process.env, PORT: '0', DATABASE_URL: urlOf(target) }
    const child = spawn(process.execPath, [file], { env, stdio: ['ignore', 'pipe', 'inherit'] })
    for await (const chunk of child.stdout) {
      const port = /"port":(\d+)/.exec(String(chunk))?.[1]
      if (port !== undefined) return new Application(child, port)
    }
    throw new Error('the application did not start')
  }

  stop(): void {
    this.#child.kill()
  }
}
