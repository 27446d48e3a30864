// MikroORM through Ringfence and against one PostgreSQL: the same program, the same observations.
import { ormSteps } from './languages/orm-steps.ts'
import { scriptSuite } from './languages/script-suite.ts'
import { npmVersions } from './npm-version.ts'

const version = npmVersions('@mikro-orm/postgresql', '@mikro-orm/migrations')

scriptSuite(
  {
    client: 'MikroORM',
    language: 'JavaScript',
    notes: 'its migrator, down and up; unit of work, nested transactions',
    argv: [process.execPath, '../mikro-orm-program.ts', version],
    probe: [process.execPath, '--version'],
    packages: [],
  },
  ormSteps,
)
