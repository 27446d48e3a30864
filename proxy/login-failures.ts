// Failed logins slow down the address that they come from: once there were `max` of them, its logins take turns, one in
// `delayMs`, twice as long with every further failure up to `delayMsMax`. Who would wait longer than that is refused at
// once, so that few wait at a time. A user who has logged in from there since their last failure does not wait:
// one application with an old password does not stop the others on its machine.
import type { Clock } from '../core/clock.ts'
import { plainAddress } from './auth-rules.ts'

export type FailureOptions = {
  /** Failures that cost nothing; 0: none ever does. */
  readonly max: number
  /** Without a failure for this long they are forgotten. */
  readonly windowMs: number
  readonly delayMs: number
  readonly delayMsMax: number
}

type Place = {
  failures: number
  lastMs: number
  /** When the next login may go on. */
  nextMs: number
  /** Users who have logged in from there since their last failure. */
  readonly proven: Set<string>
}

/** Addresses that are remembered; beyond them the oldest is forgotten. */
const placesMax = 10_000
/** Users remembered of one address. */
const provenMax = 100

export class LoginFailures {
  readonly #options: FailureOptions
  readonly #clock: Clock
  readonly #places = new Map<string, Place>()

  constructor(options: FailureOptions, clock: Clock) {
    this.#options = options
    this.#clock = clock
  }

  /** Milliseconds that a login from `address` has to wait for its turn; null: it is not worth waiting for. */
  waitFor(address: string, user: string): number | null {
    const { max, delayMsMax } = this.#options
    const place = this.#placeOf(address)
    if (max === 0 || place === undefined || place.failures < max) return 0
    if (place.proven.has(user)) return 0
    const now = this.#clock.nowMs()
    const turnMs = Math.max(now, place.nextMs)
    if (turnMs - now > delayMsMax) return null
    place.nextMs = turnMs + this.#delayAfter(place.failures)
    return turnMs - now
  }

  /** A password from there was wrong, or the user unknown. */
  failed(address: string, user: string): void {
    const now = this.#clock.nowMs()
    const key = keyOf(address)
    const fresh = { failures: 0, lastMs: now, nextMs: now, proven: new Set<string>() }
    const place = this.#placeOf(address) ?? fresh
    place.failures += 1
    place.lastMs = now
    place.proven.delete(user)
    if (place.failures >= this.#options.max) {
      place.nextMs = Math.max(place.nextMs, now + this.#delayAfter(place.failures))
    }
    this.#places.delete(key)
    this.#places.set(key, place)
    const [oldest] = this.#places.keys()
    if (this.#places.size > placesMax && oldest !== undefined) this.#places.delete(oldest)
  }

  /** A user has logged in from there. */
  succeeded(address: string, user: string): void {
    const proven = this.#placeOf(address)?.proven
    if (proven !== undefined && proven.size < provenMax) proven.add(user)
  }

  #placeOf(address: string): Place | undefined {
    const key = keyOf(address)
    const place = this.#places.get(key)
    if (place === undefined) return undefined
    if (this.#clock.nowMs() - place.lastMs <= this.#options.windowMs) return place
    this.#places.delete(key)
    return undefined
  }

  #delayAfter(failures: number): number {
    const { max, delayMs, delayMsMax } = this.#options
    return Math.min(delayMsMax, delayMs * 2 ** Math.min(failures - max, 30))
  }
}

/** Who has one IPv6 address has all of a /64 network. */
function keyOf(address: string): string {
  const [plain, family] = plainAddress(address)
  if (family === 'ipv4') return plain
  const [head = '', tail = ''] = plain.split('::')
  const left = head.split(':').filter((group) => group !== '')
  const right = plain.includes('::') ? tail.split(':').filter((group) => group !== '') : []
  const zeros = Array.from({ length: Math.max(0, 8 - left.length - right.length) }, () => '0')
  const groups = [...left, ...zeros, ...right]
  return groups.slice(0, 4).join(':')
}
