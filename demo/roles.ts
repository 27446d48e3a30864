// Who can log in to the servers of the demo.

/** Name of every server's superuser; its password is random (demo/template.ts). */
export const superuser = 'postgres'

/**
 * The role of the demo's clients and of the proxy: owns `database` on every server, and is not a
 * superuser.
 */
export const demoRole = { name: 'demo', password: 'demo', database: 'app' } as const
