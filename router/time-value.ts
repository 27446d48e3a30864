// Strings that PostgreSQL reads as the current time ('now', 'today', …; manual 8.5.1.4): constants
// to the eye, but each server reads them by its own clock.

const special = /\b(?:now|today|tomorrow|yesterday)\b/i
const wordsMax = 3
const charsMax = 64

/** True when `text` could be read as a time relative to now: short, and with one of those words. */
export function mayBeCurrentTime(text: string): boolean {
  if (text.length > charsMax || !special.test(text)) return false
  return text.trim().split(/[\s,{}[\]()]+/).length <= wordsMax
}

/** True for the types, and arrays and ranges of types, whose input reads such strings. */
export function isTimeType(type: string): boolean {
  return /^(?:date|time|timestamp|daterange|datemultirange|ts(?:tz)?(?:multi)?range)/.test(type)
}
