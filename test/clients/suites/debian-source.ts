// Source packages of Debian, fetched with apt. The list of package sources is one of ours, so that the machine's own configuration
// stays as it is.
import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { runCommand } from '../../../demo/process.ts'

const archive = 'http://deb.debian.org/debian'
const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg'

/** Of `release`, a Debian release; fetches `name=version` whole into `dir`. @throws when a part cannot be had */
export async function fetchSource(release: string, name: string, dir: string): Promise<void> {
  await withApt(release, dir, async (options) => {
    const argv = [...options, 'source', '--download-only', name]
    await runCommand('apt-get', argv, { cwd: dir })
  })
}

/**
 * The sources of a package as their authors gave them, without what Debian has added: archives have lost the one or the other file of
 * some packages. Unpacked in `dir`. @throws when they cannot be had
 */
export async function unpackOriginal(release: string, name: string, dir: string): Promise<void> {
  await withApt(release, dir, async (options) => {
    const argv = [...options, 'source', '--download-only', name]
    const failed = await runCommand('apt-get', argv, { cwd: dir }).catch((error: unknown) => error)
    const file = (await readdir(dir)).find((entry) => entry.endsWith('.orig.tar.gz'))
    if (file === undefined) throw new Error(`no sources of ${name}`, { cause: failed })
    await runCommand('tar', ['xzf', file, '--strip-components=1'], { cwd: dir })
  })
}

async function withApt(
  release: string,
  dir: string,
  use: (options: readonly string[]) => Promise<void>,
): Promise<void> {
  const list = join(dir, 'sources.list')
  const lists = join(dir, 'lists')
  await mkdir(join(lists, 'partial'), { recursive: true })
  await writeFile(list, `deb-src [signed-by=${keyring}] ${archive} ${release} main\n`)
  const settings = { 'Dir::Etc::sourcelist': list, 'Dir::Etc::sourceparts': '-' }
  const options = Object.entries({ ...settings, 'Dir::State::lists': lists }).flatMap(
    ([option, value]) => ['-o', `${option}=${value}`],
  )
  await runCommand('apt-get', [...options, 'update'], { cwd: dir })
  await use(options)
  await runCommand('rm', ['-rf', lists])
}
