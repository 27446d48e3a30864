// Passwords that stand in files of their own (`password_file`), as Docker and systemd hand them over.
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { verifier } from './kinds.ts'
import type { Complaint } from './problems.ts'
import type { FileSettings } from './settings.ts'

/** Longest secret that is taken, in bytes. */
const secretBytesMax = 64 * 1024
const verifierSchema = verifier().schema

/**
 * `settings` with what the files say in place of their names; a file that cannot be taken is complained of, and its user
 * left without a secret. Complaints repeat nothing of a file.
 */
export function readSecretFiles(
  settings: FileSettings,
  directory: string,
): { readonly settings: FileSettings; readonly complaints: readonly Complaint[] } {
  const complaints: Complaint[] = []
  const users = settings.users.map((user, index) => {
    const { password_file: file } = user
    if (file === null || user.password !== null || user.verifier !== null) return user
    const secret = readSecret(resolve(directory, file))
    if (secret.kind === 'wrong') {
      const path = ['users', index, 'password_file']
      complaints.push({ path, message: secret.message, remedy: secret.remedy })
      return user
    }
    return { ...user, [secret.kind]: secret.text }
  })
  return { settings: { ...settings, users }, complaints }
}

type Secret =
  | { readonly kind: 'password' | 'verifier'; readonly text: string }
  | { readonly kind: 'wrong'; readonly message: string; readonly remedy: string }

function readSecret(path: string): Secret {
  let content: string
  try {
    content = readFileSync(path, 'utf8')
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    return { kind: 'wrong', message: `cannot be read: ${reason}`, remedy: 'correct the name' }
  }
  const text = content.replace(/\r?\n$/, '')
  const remedy = 'write the password as the only line'
  if (text === '') return { kind: 'wrong', message: 'holds no password', remedy }
  if (text.length > secretBytesMax || /[\r\n\0]/.test(text)) {
    return { kind: 'wrong', message: 'holds more than one line', remedy }
  }
  const isVerifier = verifierSchema.safeParse(text).success
  return { kind: isVerifier ? 'verifier' : 'password', text }
}
