// Knex through Ringfence and against one PostgreSQL: the same program, the same observations.
import { knexProgram } from './knex.ts'
import { npmVersions } from './npm-version.ts'
import { suite } from './suite.ts'

suite(
  {
    client: 'Knex',
    language: 'JavaScript',
    version: npmVersions('knex', 'pg'),
    notes: 'its migrator with its lock table, down and up; nested transactions',
  },
  knexProgram,
)
