// TypeORM through Ringfence and against one PostgreSQL: the same program, the same observations.
import { typeormProgram } from './typeorm.ts'
import { suite } from './suite.ts'

suite('TypeORM', typeormProgram)
