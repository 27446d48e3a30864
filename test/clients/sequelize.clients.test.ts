// Sequelize with umzug through Ringfence and against one PostgreSQL: the same program, the same observations.
import { sequelizeProgram } from './sequelize.ts'
import { npmVersions } from './npm-version.ts'
import { suite } from './suite.ts'

suite(
  {
    client: 'Sequelize',
    language: 'JavaScript',
    version: npmVersions('sequelize', 'pg'),
    notes: 'umzug; literals instead of parameters, `SET` on every connection',
  },
  sequelizeProgram,
)
