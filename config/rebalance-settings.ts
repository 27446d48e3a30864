// Settings of one database about moving virtual nodes: measuring load, and doing it unasked.
import { z } from 'zod'
import { complain, duration, flag, orNull, positive, size } from './kinds.ts'
import { setting } from './setting.ts'

/** A daily window such as `02:00-05:00`, as minutes of the UTC day. */
function dailyWindow() {
  const schema = z.unknown().transform((input, context) => {
    const times = /^([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)$/.exec(String(input))
    if (times === null) return complain(context, 'is no window', 'write it like 02:00-05:00')
    const [, startHour, startMinute, endHour, endMinute] = times.map(Number)
    return {
      startMinute: (startHour ?? 0) * 60 + (startMinute ?? 0),
      endMinute: (endHour ?? 0) * 60 + (endMinute ?? 0),
    }
  })
  return { schema, values: 'window of the UTC day, such as `02:00-05:00`' }
}

/** The `rebalance` section of a database. */
export const rebalanceSettings = z
  .strictObject({
    measure: setting(flag(), {
      standard: true,
      applies: 'restart',
      meaning: 'Count statements, server time and bytes per virtual node, for `rebalance plan`.',
    }),
    auto: setting(flag(), {
      standard: false,
      applies: 'restart',
      meaning: 'Plan and run moves unasked, one at a time, while the load is uneven for long.',
    }),
    start: setting(positive(1_000), {
      standard: 1.25,
      applies: 'restart',
      meaning: '`auto`: highest load over the fair share, above which moves begin.',
    }),
    stop: setting(positive(1_000), {
      standard: 1.1,
      applies: 'restart',
      meaning: '`auto`: highest load over the fair share, below which no more are made.',
    }),
    lasting: setting(duration({ minMs: 1 }), {
      standard: '10m',
      applies: 'restart',
      meaning: '`auto`: how long the load must have been uneven without a break.',
    }),
    interval: setting(duration({ minMs: 1 }), {
      standard: '30s',
      applies: 'restart',
      meaning: '`auto`: time between two looks.',
    }),
    load_min: setting(positive(1_000_000_000), {
      standard: 100,
      applies: 'restart',
      meaning: '`auto`: server time of all shards, ms per second, below which nothing is done.',
    }),
    max_bytes: setting(orNull(size(1, Number.MAX_SAFE_INTEGER)), {
      standard: '10GiB',
      applies: 'restart',
      meaning: '`auto`: bytes moved per `budget_period` at most; null for no limit.',
    }),
    budget_period: setting(duration({ minMs: 1 }), {
      standard: '24h',
      applies: 'restart',
      meaning: '`auto`: the time for which `max_bytes` counts.',
    }),
    window: setting(orNull(dailyWindow()), {
      standard: null,
      applies: 'restart',
      meaning: '`auto`: when moves may begin; null for always.',
    }),
  })
  .describe('Load of virtual nodes, and moving them unasked; see [moving](moving-vnodes.md).')
