// pgjdbc through Ringfence and against one PostgreSQL: the same program, the same observations.
import { copyStep, driverSteps, listenStep, moreSteps } from './driver-steps.ts'
import { scriptSuite } from './script-suite.ts'
import { scripts } from './scripts.ts'

scriptSuite(scripts.jdbc, { ...driverSteps, ...copyStep, ...moreSteps, ...listenStep })
