// What SCRAM-SHA-256-PLUS binds to: the certificate's hash, with the hash of its own signature.
import { createHash, X509Certificate } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { tlsServerEndPoint } from '../../wire/tls-server-end-point.ts'
import { certificate } from '../support/certificates.ts'

const derOf = (pem: string) => new X509Certificate(pem).raw

describe('the channel binding of a certificate', () => {
  it.each([
    { signature: 'ECDSA with SHA-256', pem: certificate('server').cert, hash: 'sha256' },
    { signature: 'RSA with SHA-384', pem: certificate('renewed-server').cert, hash: 'sha384' },
  ])('signed by $signature is its $hash', ({ pem, hash }) => {
    const der = derOf(pem)
    const expected = createHash(hash).update(der).digest('hex')
    expect(tlsServerEndPoint(der)?.toString('hex')).toBe(expected)
  })

  it('signed by RSASSA-PSS is what its parameters name', () => {
    const der = derOf(pss)
    const expected = createHash('sha384').update(der).digest('hex')
    expect(tlsServerEndPoint(der)?.toString('hex')).toBe(expected)
  })

  it('signed by Ed25519 does not exist', () => {
    expect(tlsServerEndPoint(derOf(ed25519))).toBeNull()
  })

  it('of anything else does not exist, whatever its bytes are', () => {
    const der = derOf(certificate('server').cert)
    for (let length = 0; length < der.length; length += 7) {
      const cut = tlsServerEndPoint(der.subarray(0, length))
      expect(cut).toBeNull()
    }
    expect(tlsServerEndPoint(Buffer.alloc(200, 0x30))).toBeNull()
    expect(tlsServerEndPoint(Buffer.alloc(200, 0xff))).toBeNull()
  })
})

const pss = `-----BEGIN CERTIFICATE-----
MIIDaTCCAhygAwIBAgIUNc3Nti7gHTbf+5WSf7cwI90WdpUwQgYJKoZIhvcNAQEK
MDWgDzANBglghkgBZQMEAgIFAKEcMBoGCSqGSIb3DQEBCDANBglghkgBZQMEAgIF
AKIEAgIAzjAOMQwwCgYDVQQDDANwc3MwIBcNMjYxMTIyMTAzODExWhgPMjEyNjEw
MjkxMDM4MTFaMA4xDDAKBgNVBAMMA3BzczCCASIwDQYJKoZIhvcNAQEBBQADggEP
ADCCAQoCggEBAK7hfaYVAJ6UWlfF/OkgmxkMiknuOyu/LShyDp797Tp/h6WMZ6vk
OGpLQPsgaEOA7kMmFXKAgjkHgtPQCcaEUvh1+abm3YuFWJu8uGsAhAgzxOgtF7/0
3YioDdcpIF5UTINgcM/tSLOMYr8Y2h6JQ0qI9i7aVxmshjv6dR2f19HW7K4XY5jp
M+OTdxO+1VhTenQxeIMSx9Ib6EtzY7/h658JQnUPRVekTIUICV1dH3gvVHyOZHkc
RgHprnFNIGFA84UgpBAjKS/xf2PpiZOOsipspYVYzW6D3Rbfc6gYkBE/fnaypoZF
FnDyhsOwPHl84KH7f3fErX/BiuFKu/bHZWMCAwEAAaNTMFEwHQYDVR0OBBYEFKA/
Su7V0x2H3p1qDQbgdKFqhUFzMB8GA1UdIwQYMBaAFKA/Su7V0x2H3p1qDQbgdKFq
hUFzMA8GA1UdEwEB/wQFMAMBAf8wQgYJKoZIhvcNAQEKMDWgDzANBglghkgBZQME
AgIFAKEcMBoGCSqGSIb3DQEBCDANBglghkgBZQMEAgIFAKIEAgIAzgOCAQEASBQz
PQCFT4NgX8CPFHEYb0TUC3BVX7o6QfDGp66a63Yr6ZNWU54UgpbgBoc/nYde0iHo
j59BKaQcj8NLaBZzrHHwPdrKUKnqwLFqgBLvhpdeI7KwzbzRVEVmjeJ1NDAYAOEF
W7UdnqO/aPMR7LNbNqNoCiCdYv00ePVVSCf3zC4tnel3QA87lQmHPDeLVJku1AHb
Y8v9bpkcg8i3LDicmT8xHf+nOCRS+6jxrHILasfFJH/9L8QiE7WzFFy1yKwIYV8k
S36u3El9lFMGwMCtRX6aWLxsxaDb45h96Bafaa/nS7QVk5ceSVr/+EHBraZY0bKQ
eqj/9th5/YWHCCBfqg==
-----END CERTIFICATE-----
`

const ed25519 = `-----BEGIN CERTIFICATE-----
MIIBMDCB46ADAgECAhRVKozGH0U+YLQbcmSKejaJz2UMSzAFBgMrZXAwDTELMAkG
A1UEAwwCZWQwIBcNMjYxMTIyMTAzODExWhgPMjEyNjEwMjkxMDM4MTFaMA0xCzAJ
BgNVBAMMAmVkMCowBQYDK2VwAyEAwfa9ALBwCPxKf4hg9gznAy3g1fatGDZLfd+7
JuPZjP+jUzBRMB0GA1UdDgQWBBSjeZZt4npu7kMAwJFcT0RTq5qY1TAfBgNVHSME
GDAWgBSjeZZt4npu7kMAwJFcT0RTq5qY1TAPBgNVHRMBAf8EBTADAQH/MAUGAytl
cANBAKEwraDjcZ2EeADjbs9XmZH3rd5NTqyGwpXkowbZ1hZ7UQWDXfyYjv76mgip
JmSQi5yeTHWlVRPx99ik0Ei15Qg=
-----END CERTIFICATE-----
`
