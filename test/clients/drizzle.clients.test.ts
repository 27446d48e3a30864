// Drizzle through Ringfence and against one PostgreSQL: the same program, the same observations.
import { drizzleProgram } from './drizzle.ts'
import { suite } from './suite.ts'

suite('Drizzle', drizzleProgram)
