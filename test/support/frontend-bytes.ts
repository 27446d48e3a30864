// Encodes the client's messages for the tests, apart from wire/frontend.ts (see raw-connection.ts).
// Source of the layouts: PostgreSQL manual, chapter "Message Formats".

/** One parameter of a Bind; a null value has no format that matters. */
export type BindParameter = { readonly format: 0 | 1; readonly value: Buffer | null }

const int16 = (value: number): Buffer => {
  const bytes = Buffer.alloc(2)
  bytes.writeInt16BE(value)
  return bytes
}

const int32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}

const cstring = (text: Buffer | string): Buffer =>
  Buffer.concat([Buffer.from(text), Buffer.alloc(1)])

const counted = (values: readonly Buffer[]): Buffer[] => [int16(values.length), ...values]

const sized = (value: Buffer | null): Buffer =>
  value === null ? int32(-1) : Buffer.concat([int32(value.length), value])

/** A message of type `code` with a right length field. */
export function frontendMessage(code: string, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts)
  return Buffer.concat([Buffer.from(code, 'latin1'), int32(body.length + 4), body])
}

/** Parse, with the types of the first parameters. */
export function parseBytes(name: Buffer, sql: Buffer, types: readonly number[]): Buffer {
  return frontendMessage('P', cstring(name), cstring(sql), ...counted(types.map(int32)))
}

/** The shortest list of format codes that means the same: none for text, one for all, or each. */
function formatCodes(parameters: readonly BindParameter[]): Buffer[] {
  const formats = parameters.map((parameter) => parameter.format)
  if (formats.every((format) => format === 0)) return counted([])
  if (formats.every((format) => format === 1)) return counted([int16(1)])
  return counted(formats.map(int16))
}

/** Bind; `results` are the format codes of the result columns as they stand. */
export function bindBytes(
  portal: Buffer,
  statement: Buffer,
  parameters: readonly BindParameter[],
  results: readonly number[],
): Buffer {
  const values = parameters.map((parameter) => sized(parameter.value))
  const tail = [...counted(values), ...counted(results.map(int16))]
  return frontendMessage(
    'B',
    cstring(portal),
    cstring(statement),
    ...formatCodes(parameters),
    ...tail,
  )
}

/** Execute; `rowsMax` 0 means all rows. */
export function executeBytes(portal: Buffer, rowsMax: number): Buffer {
  return frontendMessage('E', cstring(portal), int32(rowsMax))
}

/** Describe (`D`) or Close (`C`) of a statement (`S`) or portal (`P`). */
export function targetBytes(code: 'D' | 'C', what: string, name: Buffer): Buffer {
  return frontendMessage(code, Buffer.from(what, 'latin1'), cstring(name))
}

/** A message whose body is one zero-terminated string: Query, CopyFail, a password. */
export function textBytes(code: string, text: Buffer | string): Buffer {
  return frontendMessage(code, cstring(text))
}

/** FunctionCall, the fast path that libpq's large-object calls use. */
export function functionCallBytes(
  functionOid: number,
  parameters: readonly BindParameter[],
  resultFormat: number,
): Buffer {
  const values = parameters.map((parameter) => sized(parameter.value))
  const tail = [...counted(values), int16(resultFormat)]
  return frontendMessage('F', int32(functionOid), ...formatCodes(parameters), ...tail)
}

/** SASLInitialResponse. */
export function saslInitialBytes(mechanism: string, response: string): Buffer {
  return frontendMessage('p', cstring(mechanism), sized(Buffer.from(response)))
}

/** SASLResponse. */
export function saslResponseBytes(response: string): Buffer {
  return frontendMessage('p', Buffer.from(response))
}

/** StartupMessage of protocol 3.`minor`. */
export function startupBytes(
  minor: number,
  parameters: readonly (readonly [string, string])[],
): Buffer {
  const pairs = parameters.flatMap(([name, value]) => [cstring(name), cstring(value)])
  const body = Buffer.concat([int32(3 * 65_536 + minor), ...pairs, Buffer.alloc(1)])
  return Buffer.concat([int32(body.length + 4), body])
}

/** CancelRequest for the process and secret of a BackendKeyData body. */
export function cancelBytes(keyData: Buffer): Buffer {
  return Buffer.concat([int32(keyData.length + 8), int32(1234 * 65_536 + 5678), keyData])
}
