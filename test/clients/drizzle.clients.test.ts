// Drizzle through Ringfence and against one PostgreSQL: the same program, the same observations.
import { drizzleProgram } from './drizzle.ts'
import { npmVersions } from './npm-version.ts'
import { suite } from './suite.ts'

suite(
  {
    client: 'Drizzle',
    language: 'JavaScript',
    version: npmVersions('drizzle-orm', 'pg'),
    notes: 'its migrator; relational queries: `LATERAL` with `json_agg`',
  },
  drizzleProgram,
)
