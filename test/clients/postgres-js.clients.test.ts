// postgres.js through Ringfence and against one PostgreSQL: the same program, the same observations.
import { postgresJs } from './postgres-js.ts'
import { suite } from './suite.ts'

suite('postgres', postgresJs)
