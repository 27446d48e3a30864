// Configuration files of the command's tests, over databases of their own.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createDatabases } from '../support/databases.ts'
import type { TestServers } from '../support/servers.ts'

/** A file over `count` shards, and what goes with it. */
export type ConfigFile = {
  readonly path: string
  readonly text: string
  /** Superuser connection URLs of the shards, home first. */
  readonly urls: readonly string[]
  remove(): Promise<void>
}

/** One sharded database "app" for user "app" with the password "pencil"; ports are free ones. */
export async function createConfig(servers: TestServers, count: number): Promise<ConfigFile> {
  const shards = servers.shards.slice(0, count)
  const databases = await createDatabases({ ...servers, shards }, 'cli')
  const dir = await mkdtemp(join(tmpdir(), 'rf-cli-'))
  const path = join(dir, 'ringfence.yaml')
  const places = databases.urls.map((url, at) => `      - { id: s${at + 1}, primary: "${url}" }`)
  const text = `listen: { host: 127.0.0.1, port: 0 }
http: { host: 127.0.0.1, port: 0 }
users: [{ name: app, password: pencil, admin: true }]
log: { level: info }
databases:
  app:
    shards:
${places.join('\n')}
    sharding: { key: tenant_id, tables: { products: { placement: reference } } }
`
  await writeFile(path, text)
  const remove = async () => {
    await databases.drop()
    await rm(dir, { recursive: true, force: true })
  }
  return { path, text, urls: databases.urls, remove }
}
