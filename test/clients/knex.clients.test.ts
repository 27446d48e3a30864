// Knex through Ringfence and against one PostgreSQL: the same program, the same observations.
import { knexProgram } from './knex.ts'
import { suite } from './suite.ts'

suite('Knex', knexProgram)
