// PostgreSQL's md5 password method: md5(md5(password ‖ user) ‖ salt), in hex after the word "md5".
import { createHash, timingSafeEqual } from 'node:crypto'

/** What a client answers to AuthenticationMD5Password. `salt`: the 4 bytes of that message. */
export function md5Password(user: string, password: string, salt: Uint8Array): string {
  return md5Answer(storedMd5(user, password), salt)
}

/** The same from what is stored, `md5…`. */
export function md5Answer(stored: string, salt: Uint8Array): string {
  return `md5${createHash('md5').update(stored.slice(3)).update(salt).digest('hex')}`
}

/** True when `answer` fits what is stored: a plain password or `md5…`. Takes the same time either way. */
export function verifyMd5(
  stored: string,
  login: { readonly user: string; readonly salt: Uint8Array; readonly answer: string },
): boolean {
  const hash = /^md5[0-9a-f]{32}$/.test(stored) ? stored : storedMd5(login.user, stored)
  const expected = Buffer.from(md5Answer(hash, login.salt))
  const answer = Buffer.from(login.answer)
  return answer.length === expected.length && timingSafeEqual(answer, expected)
}

/** `md5` and 32 hex digits, as PostgreSQL stores it. */
function storedMd5(user: string, password: string): string {
  return `md5${createHash('md5').update(password).update(user).digest('hex')}`
}
