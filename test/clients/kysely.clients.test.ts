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
      'its migrator, down and up, under a session advisory lock; over several shards it is refused, for `set_config()` inside of a statement; rows streamed by a cursor',
  },
  kyselyProgram,
  ['one shard'],
)
