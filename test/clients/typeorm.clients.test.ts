// TypeORM through Ringfence and against one PostgreSQL: the same program, the same observations.
import { typeormProgram } from './typeorm.ts'
import { npmVersions } from './npm-version.ts'
import { suite } from './suite.ts'

suite(
  {
    client: 'TypeORM',
    language: 'JavaScript',
    version: npmVersions('typeorm', 'pg'),
    notes: 'its migrations, all in one transaction, down and up',
  },
  typeormProgram,
)
