// Kysely through Ringfence and against one PostgreSQL: the same program, the same observations.
import { kyselyProgram } from './kysely.ts'
import { npmVersions } from './npm-version.ts'
import { suite } from './suite.ts'

suite(
  {
    client: 'Kysely',
    language: 'JavaScript',
    version: npmVersions('kysely', 'pg'),
    notes:
      'its migrator, down and up: its session advisory lock keeps that connection on one server; not over several shards, which refuse `set_config()` inside of its statement; rows streamed by a cursor',
  },
  kyselyProgram,
  ['one shard'],
)
