internal import CryptoPrimitives
internal import KMSCore
internal import PKCS11

/// A KEK that is a pair of RSA keys: whoever has the public one can wrap, so its states are kept by the suite.
struct RSAPair {
  let label: String
  let privateKey: UInt
  /// Private and public.
  let all: [UInt]
  let publicKey: RSAKey
}

extension Session {
  /// Those that a record says are ours.
  func pairs(named records: [KeyVersionID: AdoptionRecord]) throws(CallFailure) -> [KeyVersionID: [RSAPair]] {
    var pairs: [KeyVersionID: [RSAPair]] = [:]
    for record in records.values where [.rsaOAEP256, .rsaOAEPSHA1].contains(record.algorithm) {
      for handle in try find(KeyTemplates.privateRSA(record.id)) {
        guard
          let values = try attributesIfThere(
            of: handle, [.modulus, .publicExponent, .label, .sensitive, .extractable, .alwaysAuthenticate])
        else { continue }
        guard values[3] == [1], values[4] == [0] else { continue }
        guard values[5] != [1] else {
          throw CallFailure(
            "C_GetAttributeValue",
            problem: "key \(record.id) wants a PIN at each use (CKA_ALWAYS_AUTHENTICATE), which the suite cannot give")
        }
        pairs[record.id, default: []].append(
          RSAPair(
            label: String(decoding: values[2] ?? [], as: UTF8.self), privateKey: handle,
            all: [handle] + (try find(KeyTemplates.publicRSA(record.id))), publicKey: try RSAKey(of: values)))
      }
    }
    return pairs
  }
}
