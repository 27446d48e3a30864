// node-postgres through Ringfence and against one PostgreSQL: the same program, the same observations.
import { nodePostgres } from './pg.ts'
import { suite } from './suite.ts'

suite('pg', nodePostgres)
