// asyncpg through Ringfence and against one PostgreSQL: the same program, the same observations.
import { copyStep, ddlStep, driverSteps, listenStep, moreSteps } from './driver-steps.ts'
import { scriptSuite } from './script-suite.ts'
import { scripts } from './scripts.ts'

scriptSuite(scripts.asyncpg, {
  ...driverSteps,
  ...copyStep,
  ...moreSteps,
  ...listenStep,
  ...ddlStep,
})
