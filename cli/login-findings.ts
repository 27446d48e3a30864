// What `ringfence check` finds in the files that logins go by: PgBouncer's user list, a pg_hba.conf.
import { readFileSync } from 'node:fs'
import type { Config } from '../config/config.ts'
import type { Path } from '../config/setting.ts'
import { parseHbaFile } from '../proxy/hba-file.ts'
import { parseUserList } from '../proxy/user-list.ts'
import type { Finding } from './finding.ts'

/** Files that cannot be read, or that the proxy would refuse. */
export function loginFindings(
  { auth }: Config,
  locate: (path: Path) => string,
): readonly Finding[] {
  const files = [
    { name: 'file', path: auth.file, parse: parseUserList },
    { name: 'hba_file', path: auth.hbaFile, parse: parseHbaFile },
  ]
  return files.flatMap(({ name, path, parse }): Finding[] => {
    if (path === null) return []
    try {
      parse(readFileSync(path, 'utf8'))
      return []
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      const where = locate(['auth', name])
      return [
        { severity: 'error', where, subject: `auth.${name}`, message, remedy: 'correct the file' },
      ]
    }
  })
}
