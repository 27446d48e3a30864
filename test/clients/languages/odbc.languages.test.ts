// psqlodbc through Ringfence and against one PostgreSQL: the same program, the same observations.
import { cancelStep, driverSteps, partsStep, settingsStep } from './driver-steps.ts'
import { scriptSuite } from './script-suite.ts'
import { scripts } from './scripts.ts'

scriptSuite(scripts.odbc, { ...driverSteps, ...partsStep, ...cancelStep, ...settingsStep })
