// psql through Ringfence and against one PostgreSQL: the same program, the same observations.
import { psqlProgram } from './psql.ts'
import { suite } from './suite.ts'

suite('psql', psqlProgram)
