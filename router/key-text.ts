// A key as an operator types it, or as `ringfence.pin` has it.
import { int8FromText, uuidFromText } from '../wire/values.ts'
import type { KeyValue } from './key-hash.ts'
import type { KeyType } from './schema.ts'

/** Undefined when it is none of that type. */
export function keyFromText(text: string, keyType: KeyType): KeyValue | undefined {
  const bytes = Buffer.from(text)
  switch (keyType) {
    case 'bigint': {
      const value = int8FromText(bytes)
      return value === undefined ? undefined : { kind: 'bigint', value }
    }
    case 'uuid': {
      const uuid = uuidFromText(bytes)
      return uuid === undefined ? undefined : { kind: 'uuid', bytes: uuid }
    }
    case 'text':
      return { kind: 'text', bytes }
  }
}
