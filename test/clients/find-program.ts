// PostgreSQL's own client programs are no npm packages: they are used where the machine has them.
import { execFileSync } from 'node:child_process'
import { accessSync, constants, readdirSync } from 'node:fs'
import { delimiter, join } from 'node:path'

const debianRoot = '/usr/lib/postgresql'

/** Path of a program of PostgreSQL: PATH first, then Debian's versions, newest first. */
export function findProgram(name: string): string | undefined {
  const onPath = (process.env['PATH'] ?? '').split(delimiter)
  return [...onPath, ...debianFolders()].map((folder) => join(folder, name)).find(isExecutable)
}

/** Version that the program says it has: `15.18`. @throws Error when it is not there. */
export function programVersion(name: string): string {
  const said = execFileSync(findProgram(name) ?? name, ['--version'], { encoding: 'utf8' })
  return /\d+(\.\d+)+/.exec(said)?.[0] ?? said.trim()
}

function debianFolders(): string[] {
  try {
    const versions = readdirSync(debianRoot).map(Number).filter(Number.isFinite)
    return versions
      .sort((one, other) => other - one)
      .map((version) => `${debianRoot}/${version}/bin`)
  } catch {
    return []
  }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
