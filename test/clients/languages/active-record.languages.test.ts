// ActiveRecord through Ringfence and against one PostgreSQL: the same program, the same observations.
import { ormSteps } from './orm-steps.ts'
import { scriptSuite } from './script-suite.ts'
import { scripts } from './scripts.ts'

scriptSuite(scripts['active-record'], {
  ...ormSteps,
  lock: 'a session advisory lock keeps others out until it is given back',
})
