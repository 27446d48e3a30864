// Settings of the processes that serve: how many, and how they are told, watched and replaced.
import { z } from 'zod'
import { duration, flag, integer, orNull, text } from './kinds.ts'
import { setting } from './setting.ts'

/** Settings at the top of the file; see docs/operations.md. */
export const processSettings = {
  workers: setting(
    { schema: z.union([z.literal('auto'), integer(1, 512).schema]), values: '1 to 512, `auto`' },
    {
      standard: 1,
      applies: 'restart',
      meaning:
        'Processes that share the port; every limit of connections is divided among them. ' +
        '`auto`: one for each core, as far as the smallest pool can be divided.',
    },
  ),
  pid_file: setting(orNull(text('file')), {
    standard: null,
    applies: 'restart',
    meaning: 'File with the number of the process that takes signals; it changes at an upgrade.',
  }),
  watch: setting(flag(), {
    standard: false,
    applies: 'reload',
    meaning: 'Whether a change of the file is applied by itself, like a reload.',
  }),
  drain_timeout: setting(duration({ minMs: 0 }), {
    standard: '1h',
    applies: 'reload',
    meaning:
      'How long the old process goes on with its clients after an upgrade; who is still there is ' +
      'disconnected then, between two transactions.',
  }),
}
