// Binaries of a version under test, for tests that start servers of their own instead of sharing
// the run's.
import { findInstallation, type Installation } from '../../demo/installation.ts'

/** Major version of the binaries that npm installs. */
export const embeddedVersion = 18
/** Where Debian puts the binaries of a major version. */
export const debianBinDir = (version: number) => `/usr/lib/postgresql/${version}/bin`

/** The embedded one for 18, else Debian's. */
export function installationOf(version: number): Promise<Installation> {
  return findInstallation(version === embeddedVersion ? 'embedded' : debianBinDir(version))
}
