// postgres.js through Ringfence and against one PostgreSQL: the same program, the same observations.
import { postgresJs } from './postgres-js.ts'
import { npmVersions } from './npm-version.ts'
import { suite } from './suite.ts'

suite(
  {
    client: 'postgres.js',
    language: 'JavaScript',
    version: npmVersions('postgres'),
    notes: 'everything prepared and pipelined, cursors, COPY both ways',
  },
  postgresJs,
)
