// Where spans of statements go.
import { z } from 'zod'
import { orNull } from './kinds.ts'
import { httpUrl } from './service-url.ts'
import { setting } from './setting.ts'

function share() {
  const schema = z.number().min(0).max(1)
  return { schema, values: '0 to 1' }
}

export const traceSettings = z
  .strictObject({
    otlp_url: setting(orNull(httpUrl()), {
      standard: null,
      applies: 'reload',
      meaning:
        'Collector that is sent spans of statements (OTLP over HTTP as JSON), such as ' +
        '`http://127.0.0.1:4318/v1/traces`; null: none are made.',
    }),
    sample: setting(share(), {
      standard: 0.01,
      applies: 'reload',
      meaning:
        'Share of the statements that are traced. A `traceparent` in a comment decides for its ' +
        'own statement.',
    }),
  })
  .describe('Traces of statements; see [observability](observability.md).')
