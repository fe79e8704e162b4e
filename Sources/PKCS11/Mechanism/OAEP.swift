internal import CP11Kit
package import KMSCore

/// RSAES-OAEP (CKM_RSA_PKCS_OAEP): pairs of keys, and C_Decrypt. Encryption needs no token.
extension Session {
  /// - Returns: handles of the public and the private key.
  package func generateRSA(
    publicKey publicTemplate: Template, privateKey privateTemplate: Template
  ) throws(CallFailure) -> (publicKey: UInt, privateKey: UInt) {
    var keys: (UInt, UInt) = (0, 0)
    var mechanism = unsafe CK_MECHANISM(  // for the call only
      mechanism: CKM_RSA_PKCS_KEY_PAIR_GEN, pParameter: nil, ulParameterLen: 0)
    try unsafe check(  // for the call only
      functions.C_GenerateKeyPair(
        handle, &mechanism, publicTemplate.attributes.baseAddress, publicTemplate.count,
        privateTemplate.attributes.baseAddress, privateTemplate.count, &keys.0, &keys.1), "C_GenerateKeyPair",
      "CKM_RSA_PKCS_KEY_PAIR_GEN")
    return keys
  }

  private static let oaep = "CKM_RSA_PKCS_OAEP"

  /// - Parameter isSHA1: else SHA-256; for the mask as well.
  package func decryptOAEP(
    _ ciphertext: [UInt8], under key: UInt, isSHA1: Bool
  ) throws(CallFailure) -> SecretBytes {
    try sound { () throws(CallFailure) in
      var parameters = unsafe CK_RSA_PKCS_OAEP_PARAMS(  // points to what outlives the call
        hashAlg: isSHA1 ? CKM_SHA_1 : CKM_SHA256,
        mgf: isSHA1 ? CKG_MGF1_SHA1 : CKG_MGF1_SHA256,
        source: CKZ_DATA_SPECIFIED, pSourceData: nil, ulSourceDataLen: 0)
      try unsafe withUnsafeMutablePointer(to: &parameters) { parameters throws(CallFailure) in  // for the call only
        var mechanism = unsafe CK_MECHANISM(  // points to what outlives the call
          mechanism: CKM_RSA_PKCS_OAEP, pParameter: UnsafeMutableRawPointer(parameters),
          ulParameterLen: UInt(MemoryLayout<CK_RSA_PKCS_OAEP_PARAMS>.size))
        try unsafe check(functions.C_DecryptInit(handle, &mechanism, key), "C_DecryptInit", Self.oaep)  // call only
      }
      return try decryptStarted(ciphertext, Self.oaep, expecting: 32)
    }
  }
}
