// What a client is told at the end of its login, behind AuthenticationOk.
import type { Outbox } from '../pool/outbox.ts'
import { writeBackendKeyData, writeParameterStatus, writeReadyForQuery } from '../wire/backend.ts'
import { Writer } from '../wire/writer.ts'
import type { CancelKey } from './sessions.ts'

/** Parameters, the key for CancelRequest if there is one, ReadyForQuery. */
export function welcome(
  outbox: Outbox,
  parameters: ReadonlyMap<string, string>,
  key?: CancelKey,
): void {
  const writer = new Writer(1024)
  for (const [name, value] of parameters) writeParameterStatus(writer, name, value)
  if (key !== undefined) writeBackendKeyData(writer, key.pid, key.secret)
  writeReadyForQuery(writer, 'I')
  outbox.append(writer.bytes())
}
