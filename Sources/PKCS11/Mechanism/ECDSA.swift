internal import CP11Kit

extension AttributeType {
  package static let ecParameters = Self(rawValue: CKA_EC_PARAMS)
  package static let ecPoint = Self(rawValue: CKA_EC_POINT)
}

/// ECDSA (CKM_ECDSA) over a digest, by keys that are made in the token.
extension Session {
  /// Handles of a new pair.
  package func generateECPair(
    publicKey: Template, privateKey: Template
  ) throws(CallFailure) -> (publicKey: UInt, privateKey: UInt) {
    var pair: (publicKey: UInt, privateKey: UInt) = (0, 0)
    var mechanism = unsafe CK_MECHANISM(  // for the call only
      mechanism: CKM_EC_KEY_PAIR_GEN, pParameter: nil, ulParameterLen: 0)
    try unsafe check(  // for the call only
      functions.C_GenerateKeyPair(
        handle, &mechanism, publicKey.attributes.baseAddress, publicKey.count, privateKey.attributes.baseAddress,
        privateKey.count, &pair.publicKey, &pair.privateKey),
      "C_GenerateKeyPair", "CKM_EC_KEY_PAIR_GEN")
    return pair
  }

  /// r and s, one after the other.
  package func sign(digest: [UInt8], with key: UInt) throws(CallFailure) -> [UInt8] {
    var (digest, signature) = (digest, [UInt8](repeating: 0, count: 256))
    var count = UInt(signature.count)
    try sound { () throws(CallFailure) in
      var mechanism = unsafe CK_MECHANISM(mechanism: CKM_ECDSA, pParameter: nil, ulParameterLen: 0)  // no parameter
      try unsafe check(functions.C_SignInit(handle, &mechanism, key), "C_SignInit", "CKM_ECDSA")  // call only
      try unsafe check(  // for the call only
        functions.C_Sign(handle, &digest, UInt(digest.count), &signature, &count), "C_Sign", "CKM_ECDSA")
    }
    return Array(signature.prefix(Int(count)))
  }
}
