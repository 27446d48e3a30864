// `ringfence hash-password`: the stored form of a password, for `verifier:` of a user or for ALTER ROLE.
import { randomBytes } from 'node:crypto'
import { createVerifier } from '../wire/scram-keys.ts'
import { readSecret } from './read-secret.ts'

export type HashPasswordOptions = {
  readonly user?: string
  readonly iterations: number
  readonly json: boolean
}

/** As many bytes as PostgreSQL takes (SCRAM_DEFAULT_SALT_LEN). */
const saltBytes = 16

/** Prints the verifier, with --user as an entry of `users`. Exit code 0. */
export async function hashPasswordCommand(
  { user, iterations, json }: HashPasswordOptions,
  out: (text: string) => void,
): Promise<number> {
  const whose = user === undefined ? '' : ` of "${user}"`
  const prompts = [`Password${whose}: `, 'Again: '] as const
  const password = await readSecret(process.stdin, prompts)
  const verifier = createVerifier(password, { iterations, salt: randomBytes(saltBytes) })
  if (json) out(`${JSON.stringify({ user: user ?? null, verifier })}\n`)
  else if (user === undefined) out(`${verifier}\n`)
  else out(`- { name: ${JSON.stringify(user)}, verifier: "${verifier}" }\n`)
  return 0
}
