// Loading as the tests of config/ do it, and files that are right to start from.
import type { Config } from '../../config/config.ts'
import { loadConfig } from '../../config/load.ts'
import { formatProblem } from '../../config/problems.ts'

type Env = Readonly<Record<string, string>>

/** Everything that is wrong with `text`, as an operator sees it. */
export function problemsOf(text: string, env: Env = {}): string[] {
  const loaded = loadConfig(text, { file: 'f.yaml', env })
  return loaded.ok ? [] : loaded.problems.map(formatProblem)
}

/** What `text` says; throws its problems. */
export function configOf(text: string, env: Env = {}): Config {
  const loaded = loadConfig(text, { file: 'f.yaml', env })
  if (!loaded.ok) throw new Error(loaded.problems.map(formatProblem).join('\n'))
  return loaded.config
}

/** The part of `oneShard` and `twoShards` that lists the user "app" with the password "secret". */
export const users = 'users: [{ name: app, password: secret }]'
/** A shard in flow style. */
export const shard = '{ id: s1, primary: "postgres://10.0.0.1/app" }'
/** A database "app" with one shard; ends where its settings go on, four spaces deep. */
export const oneShard = `${users}\ndatabases:\n  app:\n    shards: [${shard}]`
/** The same with two shards; it lacks a "sharding" section. */
export const twoShards = `${users}
databases:
  app:
    server_user: { name: app, password: secret }
    shards:
      - { id: s1, primary: "postgres://10.0.0.1/app" }
      - { id: s2, primary: "postgres://10.0.0.2/app" }`
