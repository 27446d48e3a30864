// node-postgres through Ringfence and against one PostgreSQL: the same program, the same observations.
import { nodePostgres } from './pg.ts'
import { npmVersions } from './npm-version.ts'
import { suite } from './suite.ts'

suite(
  {
    client: 'node-postgres',
    language: 'JavaScript',
    version: npmVersions('pg'),
    notes: 'named statements, several statements in one message',
  },
  nodePostgres,
)
