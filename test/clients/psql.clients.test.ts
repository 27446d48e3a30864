// psql through Ringfence and against one PostgreSQL: the same program, the same observations.
import { programVersion } from './find-program.ts'
import { psqlProgram } from './psql.ts'
import { suite } from './suite.ts'

suite(
  {
    client: 'psql',
    language: 'C (libpq)',
    version: programVersion('psql'),
    notes: 'cursors by `FETCH_COUNT`, savepoints by `ON_ERROR_ROLLBACK`, `\\copy`, `\\d`',
  },
  psqlProgram,
)
