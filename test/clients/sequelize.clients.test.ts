// Sequelize with umzug through Ringfence and against one PostgreSQL: the same program, the same observations.
import { sequelizeProgram } from './sequelize.ts'
import { suite } from './suite.ts'

suite('Sequelize', sequelizeProgram)
