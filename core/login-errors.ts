// Rows of the error table about logins: of clients, and of the proxy on servers.
import type { ErrorSpec } from './error-spec.ts'

export const loginErrors = {
  loginTimeout: {
    sqlstate: '08006',
    severity: 'FATAL',
    message: 'login was not completed within %s ms',
    meaning: 'The client took too long to send its startup packet or its password.',
    retry: 'safe',
  },
  loginAbandoned: {
    sqlstate: '08006',
    severity: 'FATAL',
    message: 'the connection has closed before the login was over',
    meaning: 'The client has left, or was refused, while a server was waited for; nobody is told.',
    retry: 'safe',
  },
  passwordWrong: {
    sqlstate: '28P01',
    severity: 'FATAL',
    message: 'password authentication failed for user "%s"',
    meaning: 'Unknown user or wrong password; the answer is the same for both.',
    retry: 'useless',
  },
  loginRejected: {
    sqlstate: '28000',
    severity: 'FATAL',
    message: 'connection from "%s" as user "%s" to database "%s" is rejected by auth.rules',
    meaning: 'No rule of auth.rules lets this user in from there, or one rejects it.',
    retry: 'useless',
  },
  tlsRequired: {
    sqlstate: '28000',
    severity: 'FATAL',
    message:
      'connection from "%s" as user "%s" to database "%s" must use TLS, no encryption is refused',
    hint: 'Connect with sslmode=require or stricter.',
    meaning: 'tls.client.mode demands TLS, and the client has not asked for it.',
    retry: 'useless',
  },
  clientCertificateRequired: {
    sqlstate: '28000',
    severity: 'FATAL',
    message: 'connection requires a valid client certificate',
    hint: 'Connect with sslcert and sslkey of a certificate that tls.client.ca has signed.',
    meaning: 'The client shows no certificate, or none that is trusted.',
    retry: 'useless',
  },
  certificateNamesNobody: {
    sqlstate: '28000',
    severity: 'FATAL',
    message: 'certificate authentication failed for user "%s"',
    meaning: 'Neither the certificate itself nor auth.user_map lets its owner in as this user.',
    retry: 'useless',
  },
  channelBindingHidden: {
    sqlstate: '28000',
    severity: 'FATAL',
    message: 'SCRAM channel binding negotiation error',
    hint:
      'The client supports channel binding but thinks that the proxy does not: something between ' +
      'them changes messages.',
    meaning: 'Somebody between client and proxy has hidden that SCRAM-SHA-256-PLUS is offered.',
    retry: 'useless',
  },
  channelBindingFailed: {
    sqlstate: '28000',
    severity: 'FATAL',
    message: 'SCRAM channel binding check failed',
    hint: 'The client has seen another certificate than the proxy has shown.',
    meaning: 'The client of a SCRAM-SHA-256-PLUS exchange is connected to somebody else.',
    retry: 'useless',
  },
  scramVerifierOther: {
    sqlstate: '28000',
    message: 'the server stores another SCRAM verifier of the user than the proxy knows',
    meaning:
      'The proxy logs in to servers with the keys that the client has proven, which fit only ' +
      'the same stored verifier: copy rolpassword of pg_authid to all servers and to the proxy.',
    retry: 'useless',
  },
  serverLoginImpossible: {
    sqlstate: '28000',
    message: 'shard "%s" cannot be logged in to as user "%s": %s',
    hint: 'See docs/authentication.md for what the proxy has to know of a user.',
    meaning: 'The server asks for a proof that the proxy cannot give, or gives none itself.',
    retry: 'useless',
  },
  loginsPutOff: {
    sqlstate: '28000',
    severity: 'FATAL',
    message: 'too many failed logins from "%s"',
    hint: 'Logins from there are put off by auth.failures; try again later.',
    meaning: 'Many logins from this address have failed, and too many more are waiting.',
    retry: 'safe',
  },
  loginsTooMany: {
    sqlstate: '53300',
    severity: 'FATAL',
    message: 'too many clients are logging in',
    hint: 'Raise limits.logins, or find out who connects without logging in.',
    meaning: 'More clients than limits.logins have connected and not finished their login.',
    retry: 'safe',
  },
  userLookupFailed: {
    sqlstate: '08001',
    severity: 'FATAL',
    message: 'users cannot be looked up now',
    hint: 'The proxy’s log tells why auth.query failed.',
    meaning: 'The server that auth.query asks cannot be reached, or the statement fails there.',
    retry: 'safe',
  },
  passwordInTheClear: {
    sqlstate: '28000',
    severity: 'FATAL',
    message: 'the password of user "%s" would travel unencrypted',
    hint: 'Connect with TLS, or choose the method scram in auth.rules.',
    meaning: 'The method plain is only for TLS and Unix sockets.',
    retry: 'useless',
  },
} as const satisfies Record<string, ErrorSpec>
