// pgx and lib/pq through Ringfence and against one PostgreSQL: the same program, the same observations.
import {
  cancelStep,
  copyStep,
  crowdStep,
  driverSteps,
  listenStep,
  settingsStep,
} from './driver-steps.ts'
import { scriptSuite } from './script-suite.ts'
import { scripts } from './scripts.ts'

scriptSuite(scripts.pgx, {
  ...driverSteps,
  ...copyStep,
  ...cancelStep,
  ...settingsStep,
  ...crowdStep,
  ...listenStep,
  libPq: 'lib/pq: COPY, prepared statements, a statement that is cancelled',
})
