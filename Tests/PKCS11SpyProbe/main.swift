// Run by SpyTests with a spying module between: two KEKs are made, a known key is wrapped, unwrapped and rewrapped.
import KMSCore
import PKCS11Provider

let arguments = CommandLine.arguments
let pin = arguments[2]
let provider = PKCS11Provider(
  PKCS11Configuration(
    name: "spied", uri: try PKCS11URI(parsing: arguments[1]),
    pin: SecretSource(description: "argument") { SecretBytes(copying: Array(pin.utf8).span) }, maxSessions: 1))
let aad: [UInt8] = [1]
let old = try await provider.createKeyVersion(NewKeyVersion(key: KeyName("spied")))
let new = try await provider.createKeyVersion(NewKeyVersion(key: old.key, id: .make(after: old.id)))
// Bytes C0 to DF, whose thumbprint (RFC 9679) is known.
let cek = SecretBytes(capacity: 32) { output in
  for i in 0..<32 { output.append(0xC0 + UInt8(i)) }
}
let thumbprint: [UInt8] = [
  0x6B, 0x5E, 0x61, 0xC6, 0x8E, 0x23, 0xC1, 0xB3, 0x9B, 0xAD, 0xE6, 0xE5, 0x1E, 0xFA, 0xE4, 0x16, 0x33, 0x8F, 0xAE,
  0x91, 0xC9, 0x2D, 0xF5, 0x12, 0x78, 0x34, 0xCD, 0x6A, 0x51, 0xFD, 0xBB, 0xBD,
]
let wrapped = try await provider.wrap(cek, under: old.id, aad: aad)
_ = try await provider.wrap(cek, under: new.id, aad: aad)  // so that the canary under it is through
let opened = try await provider.unwrap(wrapped, under: old.id, aad: aad)
// From here to the end the key is only in the token.
let rewrapped = try await provider.rewrap(wrapped, from: old.id, to: new.id, thumbprint: thumbprint, aad: aad)
let same = opened.equals(cek)
print(same && rewrapped != wrapped ? "done" : "wrong")
await provider.close()
